"""Decoding of image files into RGB, as an image viewer shows them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import joblib
import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageFile, UnidentifiedImageError

from legible.bench.text import one_line

T = TypeVar("T")
Colour = tuple[int, int, int]

#: Formats of Pillow that are read; others (PostScript, for one) may start programs.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM", "GIF")
#: How to turn an image upright, by its EXIF orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112  # tag of EXIF
PHOTOMETRIC, BITS = 262, 258  # tags of TIFF
#: Modes of Pillow without an alpha channel, and with one.
OPAQUE = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


def parse_colour(name: str, value: str) -> Colour:
    """An opaque colour from text such as "white" or "#808080". Raises ValueError."""
    try:
        colour: tuple[int, ...] = ImageColor.getrgb(value)
    except (ValueError, AttributeError, TypeError):
        colour = ()
    if len(colour) != 3:
        raise ValueError(
            f"{name} must be an opaque colour such as 'white' or '#808080', not {value!r}"
        )
    return colour[0], colour[1], colour[2]


@contextmanager
def reading_threads() -> Iterator[ThreadPoolExecutor]:
    """One thread for each usable core. Inside, images are read strictly and quietly.

    Pillow's warning of an enormous image becomes an error, its other warnings are dropped, and a
    truncated file is an error whatever the settings of the process are.
    """
    tolerant, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    pool = ThreadPoolExecutor(joblib.cpu_count())  # by affinity and cgroup
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant


def shown_path(path: Path) -> str:
    """A path in a message: one line that can be printed, and not too long."""
    return one_line(path, 200)


def read_each(
    pool: ThreadPoolExecutor, read: Callable[[Path], T], files: Sequence[Path]
) -> Iterator[T]:
    """Yields what ``read`` returns for each file, in order, from all threads.

    Raises one ValueError, at the end, that names the files for which it raises one.
    """

    def attempt(file: Path) -> T | ValueError:
        try:
            return read(file)
        except ValueError as error:
            return error

    failures: dict[Path, ValueError] = {}
    for file, result in zip(files, pool.map(attempt, files), strict=True):
        if isinstance(result, ValueError):
            failures[file] = result
        elif not failures:
            yield result
    if failures:
        names = ", ".join(shown_path(file) for file in [*failures][:3])
        more = f" and {len(failures) - 3} more" if len(failures) > 3 else ""
        first = "" if len(failures) == 1 else "the first: "
        reason = one_line(next(iter(failures.values())), 200)
        raise ValueError(f"cannot read {names}{more} ({first}{reason})")


def read_rgb(file: Path, background: Colour = (255, 255, 255)) -> Image.Image:
    """One image file as RGB: upright by its EXIF orientation, transparency on ``background``.

    16-bit grey values are scaled to 8 bits, and an embedded colour profile is converted to sRGB.
    Of a JPEG with several pictures (MPO), the first is read. Raises ValueError with the reason if
    the file is damaged, animated, enormous, or does not say what a viewer should show.
    """
    try:
        if not file.is_file():
            raise ValueError("it is not a regular file")
        if not file.stat().st_size:
            raise ValueError("it is empty")
        with Image.open(file, formats=FORMATS) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":
                raise ValueError(f"it holds {frames} frames or pages: keep one")
            return _upright(image, _flatten(_eight_bits(image), image, background))
    except UnidentifiedImageError:
        raise ValueError("it is not an image, or is damaged") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError("it has too many pixels: make it smaller") from None
    except OSError as error:
        raise ValueError(error.strerror or str(error) or type(error).__name__) from error
    except ValueError:
        raise
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(f"{type(error).__name__} {error}".strip()) from error


def _eight_bits(image: ImageFile.ImageFile) -> Image.Image:
    """The image with 8 bits a channel; with an alpha channel where one grey is transparent."""
    raw = str(image.tile[0][3]) if image.tile else ""
    image.load()
    clear = image.info.get("transparency")
    sixteen = image.mode.startswith("I;16") or (
        image.mode == "I" and image.format in ("PNG", "PPM")
    )
    if not sixteen:
        if image.mode not in (*OPAQUE, *ALPHA):
            raise ValueError(
                f"its pixels (mode {image.mode}) do not say what is white: save it with 8 or 16 "
                "bits a channel"
            )
        if image.format == "PNG" and clear is not None and image.mode == "L":
            # Pillow scales the pixels of these to 8 bits, but not the transparent grey
            image.info["transparency"] = clear * {"L;2": 85, "L;4": 17}.get(raw, 1)
        if image.format == "PNG" and clear is not None and "16" in raw:
            raise ValueError("it has 16-bit colours and a transparent one: save it with 8 bits")
        return image
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(BITS, (16,))[0]
    white = 2**bits - 1
    values = np.asarray(image).astype(np.uint32)
    scaled = (values * 255 + white // 2) // white
    if tags.get(PHOTOMETRIC) == 0:  # white is zero
        scaled = 255 - scaled
    grey = Image.fromarray(scaled.astype(np.uint8))
    if clear is None:
        return grey
    alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, alpha))


def _flatten(image: Image.Image, original: Image.Image, background: Colour) -> Image.Image:
    """The image as RGB without transparency."""
    profile = original.info.get("icc_profile")
    if image.mode not in ALPHA and "transparency" not in image.info:
        return _to_srgb(image, profile)
    rgba = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    colours = _to_srgb(rgba.convert("RGB"), profile)
    base = Image.new("RGB", image.size, background)
    return Image.composite(colours, base, rgba.getchannel("A"))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image without transparency as RGB, by its colour profile if that can be used."""
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    with suppress(Exception):  # viewers ignore a broken profile, or one of another mode
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        if "srgb" not in ImageCms.getProfileDescription(source).lower():
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")


def _upright(original: Image.Image, image: Image.Image) -> Image.Image:
    try:
        turn = TURNS.get(original.getexif().get(ORIENTATION, 1))
    except Exception:  # viewers ignore broken EXIF data
        turn = None
    return image if turn is None else image.transpose(turn)
