"""Decoding of image files: what a viewer shows, or an error with the reason."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from legible.bench.data import image_files
from legible.bench.data.image_files import TURNS, parse_colour, read_rgb


def read(file, background=(255, 255, 255)):
    """The pixels of a file, read as `imagefolder` reads it."""
    with image_files.reading_threads() as pool:
        image = pool.submit(read_rgb, file, background).result()
    assert image.mode == "RGB"
    return np.asarray(image)


def refusal(file):
    with pytest.raises(ValueError) as error:
        read(file)
    assert "\n" not in str(error.value)
    return str(error.value)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def png(width, depth, kind, row, *chunks):
    """The bytes of a PNG with one line of pixels, of any bit depth and colour type."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("suffix", ["png", "bmp", "ppm", "tif", "jpg", "webp"])
@pytest.mark.parametrize("shape", [(9, 7, 3), (9, 7)], ids=["rgb", "grey"])
def test_plain_pictures_are_what_pillow_reads(tmp_path, suffix, shape):
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(noise(*shape)).save(file)
    assert np.array_equal(read(file), np.asarray(Image.open(file).convert("RGB")))


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
    def test_each_is_undone(self, tmp_path, orientation, suffix):
        """The file holds a picture that a camera turned; what is read is the picture."""
        upright = Image.fromarray(noise(6, 4, 3))
        inverse = {6: 8, 8: 6}.get(orientation, orientation)
        stored = upright.transpose(TURNS[inverse]) if orientation > 1 else upright
        exif = Image.Exif()
        exif[0x0112] = orientation
        lossless = {"lossless": True} if suffix == "webp" else {}
        stored.save(tmp_path / f"a.{suffix}", exif=exif, **lossless)
        assert np.array_equal(read(tmp_path / f"a.{suffix}"), np.asarray(upright))

    def test_of_a_jpeg(self, tmp_path):
        """Orientation 6: the stored left side is the top."""
        pixels = np.zeros((16, 32, 3), np.uint8)
        pixels[:, :16] = 255
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
        result = read(tmp_path / "a.jpg")
        assert result.shape == (32, 16, 3)
        assert result[:15].min() > 250 and result[17:].max() < 5

    @pytest.mark.parametrize("value", [0, 9, 77])
    def test_unknown_values_turn_nothing(self, tmp_path, value):
        exif = Image.Exif()
        exif[0x0112] = value
        Image.fromarray(noise(6, 4, 3)).save(tmp_path / "a.png", exif=exif)
        assert np.array_equal(read(tmp_path / "a.png"), noise(6, 4, 3))

    def test_broken_exif_data_turn_nothing(self, tmp_path):
        Image.fromarray(noise(6, 4, 3)).save(tmp_path / "a.png", exif=b"Exif\0\0no exif at all")
        assert np.array_equal(read(tmp_path / "a.png"), noise(6, 4, 3))


class TestTransparency:
    """Red, half of it or all of it transparent, on green."""

    GREEN = (0, 255, 0)

    @pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
    def test_alpha_is_laid_on_the_background(self, tmp_path, suffix):
        pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 128]]], np.uint8)
        lossless = {"lossless": True, "exact": True} if suffix == "webp" else {}
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", **lossless)
        result = read(tmp_path / f"a.{suffix}", self.GREEN)[0].astype(int)
        assert np.abs(result - [[255, 0, 0], [0, 255, 0], [128, 127, 0]]).max() <= 1

    def test_the_background_is_white_by_default(self, tmp_path):
        Image.fromarray(np.zeros((2, 2, 4), np.uint8)).save(tmp_path / "a.png")
        assert read(tmp_path / "a.png").min() == 255

    def test_opaque_alpha_changes_no_pixel(self, tmp_path):
        pixels = noise(9, 9, 4)
        pixels[..., 3] = 255
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert np.array_equal(read(tmp_path / "a.png"), pixels[..., :3])

    def test_a_palette_with_transparency(self, tmp_path):
        image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
        image.putpalette([255, 0, 0, 0, 0, 255, 255, 255, 255])
        red, blue, white, green = [255, 0, 0], [0, 0, 255], [255] * 3, [*self.GREEN]
        image.save(tmp_path / "a.png", transparency=bytes([255, 0, 255]))
        assert read(tmp_path / "a.png", self.GREEN).tolist() == [[red, green, white]]
        image.save(tmp_path / "b.png", transparency=2)
        assert read(tmp_path / "b.png", self.GREEN).tolist() == [[red, blue, green]]
        image.save(tmp_path / "c.png")
        assert read(tmp_path / "c.png", self.GREEN).tolist() == [[red, blue, white]]

    def test_grey_with_alpha(self, tmp_path):
        Image.fromarray(np.array([[[90, 255], [90, 0]]], np.uint8), "LA").save(tmp_path / "a.png")
        assert read(tmp_path / "a.png", self.GREEN).tolist() == [[[90] * 3, [0, 255, 0]]]

    def test_16_bit_grey_with_alpha(self, tmp_path):
        row = struct.pack(">HHHH", 0x5A5A, 65535, 0x5A5A, 0)
        (tmp_path / "a.png").write_bytes(png(2, 16, 4, row))
        assert read(tmp_path / "a.png", self.GREEN).tolist() == [[[90] * 3, [0, 255, 0]]]

    @pytest.mark.parametrize(
        ("depth", "row", "clear", "others"),
        [
            (1, b"\x40", 0, [255]),
            (2, b"\x1b", 0, [85, 170, 255]),
            (2, b"\x6c", 1, [170, 255, 0]),
            (4, b"\x1f", 1, [255]),
            (8, b"\x03\x09", 3, [9]),
            (16, struct.pack(">HH", 300, 65535), 300, [255]),
            (16, struct.pack(">HHH", 300, 301, 0), 300, [1, 0]),  # of one byte, but not clear
        ],
        ids=["1", "2", "2 not black", "4", "8", "16", "16 close"],
    )
    def test_a_transparent_grey_of_each_bit_depth(self, tmp_path, depth, row, clear, others):
        file = tmp_path / "a.png"
        data = png(1 + len(others), depth, 0, row, (b"tRNS", struct.pack(">H", clear)))
        file.write_bytes(data)
        expected = [[*self.GREEN], *([value] * 3 for value in others)]
        assert read(file, self.GREEN).tolist() == [expected]

    def test_a_transparent_colour(self, tmp_path):
        clear = (b"tRNS", struct.pack(">HHH", 1, 2, 3))
        (tmp_path / "a.png").write_bytes(png(2, 8, 2, bytes([1, 2, 3, 4, 5, 6]), clear))
        assert read(tmp_path / "a.png", self.GREEN).tolist() == [[[0, 255, 0], [4, 5, 6]]]

    def test_a_transparent_colour_of_16_bits_is_refused(self, tmp_path):
        clear = (b"tRNS", struct.pack(">HHH", 300, 300, 300))
        (tmp_path / "a.png").write_bytes(png(1, 16, 2, struct.pack(">HHH", 300, 300, 300), clear))
        assert "save it with 8 bits" in refusal(tmp_path / "a.png")

    @pytest.mark.parametrize("value", ["white", "#ffffff", "rgb(255,255,255)"])
    def test_colours(self, value):
        assert parse_colour("background", value) == (255, 255, 255)

    @pytest.mark.parametrize("value", ["whyte", "", "#ffffff00", "rgba(1,2,3,4)"])
    def test_what_is_no_opaque_colour(self, value):
        with pytest.raises(ValueError, match=r"^background must be an opaque colour such as"):
            parse_colour("background", value)


class TestDepths:
    VALUES = np.array([[0, 257, 300, 32768, 65534, 65535]], np.uint16)
    GREYS = [0, 1, 1, 128, 255, 255]

    @pytest.mark.parametrize(
        ("suffix", "mode"), [("png", "I;16"), ("tif", "I;16"), ("tif", "I;16B"), ("pgm", "")]
    )
    def test_16_bit_grey_is_scaled(self, tmp_path, suffix, mode):
        file = tmp_path / f"a.{suffix}"
        if suffix == "pgm":
            file.write_bytes(b"P5 6 1 65535\n" + self.VALUES.astype(">u2").tobytes())
        else:
            order = ">u2" if mode.endswith("B") else "<u2"
            Image.frombytes(mode, (6, 1), self.VALUES.astype(order).tobytes()).save(file)
        assert read(file)[..., 0].tolist() == read(file)[..., 2].tolist() == [self.GREYS]

    def test_16_bit_grey_where_white_is_zero_is_inverted(self, tmp_path):
        image = Image.frombytes("I;16", (6, 1), self.VALUES.tobytes())
        image.save(tmp_path / "a.tif", tiffinfo={262: 0})
        with Image.open(tmp_path / "a.tif") as stored:
            assert stored.tag_v2[262] == 0
        assert read(tmp_path / "a.tif")[0, :, 0].tolist() == [255 - grey for grey in self.GREYS]

    def test_a_pgm_of_10_bits(self, tmp_path):
        values = np.array([0, 512, 1023], ">u2")
        (tmp_path / "a.pgm").write_bytes(b"P5 3 1 1023\n" + values.tobytes())
        assert read(tmp_path / "a.pgm")[0, :, 0].tolist() == [0, 128, 255]

    def test_16_bit_colours(self, tmp_path):
        (tmp_path / "a.png").write_bytes(png(1, 16, 2, struct.pack(">HHH", 65535, 32768, 255)))
        assert read(tmp_path / "a.png").tolist() == [[[255, 128, 0]]]

    def test_1_bit(self, tmp_path):
        image = Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert("1")
        for suffix in ("png", "tif", "bmp"):
            image.save(tmp_path / f"a.{suffix}")
            assert read(tmp_path / f"a.{suffix}").tolist() == [[[0] * 3, [255] * 3, [0] * 3]]

    @pytest.mark.parametrize("dtype", [np.int32, np.float32])
    def test_32_bits_are_refused(self, tmp_path, dtype):
        Image.fromarray(np.arange(6, dtype=dtype).reshape(2, 3)).save(tmp_path / "a.tif")
        assert "do not say what is white" in refusal(tmp_path / "a.tif")


class TestColours:
    RED = np.full((16, 16, 3), (250, 30, 20), np.uint8)

    @pytest.mark.parametrize("suffix", ["jpg", "tif"])
    def test_cmyk(self, tmp_path, suffix):
        Image.fromarray(self.RED).convert("CMYK").save(tmp_path / f"a.{suffix}")
        assert np.abs(read(tmp_path / f"a.{suffix}").astype(int) - self.RED).max() <= 4

    def test_a_profile_is_converted(self, tmp_path):
        """In the other profile, red and green are exchanged."""
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        Image.fromarray(self.RED).save(tmp_path / "same.png", icc_profile=profile)
        assert np.array_equal(read(tmp_path / "same.png"), self.RED)
        swapped = _with_exchanged_primaries(profile)
        Image.fromarray(self.RED).save(tmp_path / "other.png", icc_profile=swapped)
        red, green, blue = read(tmp_path / "other.png")[0, 0].tolist()
        assert green > 200 and red < 60 and blue < 60

    def test_a_broken_profile_is_ignored(self, tmp_path):
        Image.fromarray(self.RED).save(tmp_path / "a.png", icc_profile=b"no profile")
        assert np.array_equal(read(tmp_path / "a.png"), self.RED)

    def test_lab_is_refused(self, tmp_path):
        Image.merge("LAB", Image.fromarray(self.RED).split()).save(tmp_path / "a.tif")
        assert "mode LAB" in refusal(tmp_path / "a.tif")


def _with_exchanged_primaries(profile):
    """The profile with another name, in which red and green are exchanged."""
    tags = {}
    for number in range(struct.unpack(">I", profile[128:132])[0]):
        place = 132 + 12 * number
        tags[profile[place : place + 4]] = place
    data = bytearray(profile.replace(b"s\0R\0G\0B", b"s\0w\0a\0p").replace(b"sRGB", b"swap"))
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = (
        profile[green + 4 : green + 12], profile[red + 4 : red + 12],
    )  # fmt: skip
    return bytes(data)


class TestRefusals:
    @pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
    def test_animations_and_several_pages(self, tmp_path, suffix):
        frames = [Image.fromarray(noise(8, 8, 3) // (n + 1)) for n in range(3)]
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
        assert refusal(tmp_path / f"a.{suffix}") == "it holds 3 frames or pages: keep one"

    def test_an_animated_gif_with_another_name(self, tmp_path):
        frames = [Image.fromarray(noise(8, 8) // (n + 1)) for n in range(2)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        (tmp_path / "a.gif").rename(tmp_path / "a.jpg")
        assert refusal(tmp_path / "a.jpg") == "it holds 2 frames or pages: keep one"

    def test_of_a_phone_s_jpeg_with_several_pictures_the_first_is_read(self, tmp_path):
        light, dark = (Image.new("RGB", (16, 16), (v, v, v)) for v in (200, 10))
        light.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[dark])
        assert np.abs(read(tmp_path / "a.jpg").astype(int) - 200).max() <= 2

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "ppm"])
    def test_truncated_files(self, tmp_path, suffix, share, monkeypatch):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # by a plugin
        file = tmp_path / f"a.{suffix}"
        Image.fromarray(noise(40, 40, 3)).save(file)
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
        assert refusal(file)
        assert ImageFile.LOAD_TRUNCATED_IMAGES

    def test_files_that_are_no_images(self, tmp_path):
        (tmp_path / "a.jpg").write_text("<html>not found</html>")
        assert refusal(tmp_path / "a.jpg") == "it is not an image, or is damaged"
        (tmp_path / "b.jpg").touch()
        assert refusal(tmp_path / "b.jpg") == "it is empty"
        os.mkfifo(tmp_path / "c.jpg")
        assert refusal(tmp_path / "c.jpg") == "it is not a regular file"

    def test_postscript_is_not_run(self, tmp_path):
        Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.eps")
        (tmp_path / "a.eps").rename(tmp_path / "a.png")
        assert refusal(tmp_path / "a.png") == "it is not an image, or is damaged"

    @pytest.mark.parametrize("side", [10_000, 60_000], ids=["warning", "error"])
    def test_enormous_images(self, tmp_path, side):
        """The header alone is enormous: a file of some bytes that would need gigabytes."""
        data = bytearray(png(1, 8, 0, b"\0"))
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        (tmp_path / "a.png").write_bytes(data)
        assert "too many pixels" in refusal(tmp_path / "a.png")

    @pytest.mark.parametrize(
        "error", [struct.error("short"), KeyError(3), MemoryError(), EOFError()]
    )
    def test_whatever_a_decoder_raises(self, tmp_path, monkeypatch, error):
        Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.png")

        def fail(*_, **__):
            raise error

        monkeypatch.setattr(Image, "open", fail)
        assert type(error).__name__ in refusal(tmp_path / "a.png")

    def test_warnings_of_the_decoder_are_not_shown(self, tmp_path):
        """Pillow warns of a TIFF with a broken tag, which viewers show."""
        buffer = io.BytesIO()
        Image.fromarray(noise(4, 4)).save(buffer, "TIFF", tiffinfo={270: "a"})
        file = tmp_path / "a.tif"
        file.write_bytes(buffer.getvalue())
        with warnings.catch_warnings(record=True) as messages:
            warnings.simplefilter("always")
            with image_files.reading_threads() as pool:
                pool.submit(warnings.warn, "Corrupt EXIF data").result()
                pool.submit(read_rgb, file).result()
        assert not messages


def test_threads_follow_the_cores_that_may_be_used(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    with image_files.reading_threads() as pool:
        assert pool._max_workers == 1
