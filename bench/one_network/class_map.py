"""Which outputs of a network's head stand for each class of the data."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from legible.bench.errors import UserError, nearest, reason_of

#: By class of the data: numbers or names of outputs.
ClassMap = Mapping[str, Sequence[int | str]]
#: Numbers of outputs, one tuple for each class of the data.
Groups = tuple[tuple[int, ...], ...]
_RANGE = re.compile(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?")


class JoinedOutputs(nn.Module):
    """Turns the logits of a head into logits of the data's classes: the largest of each group."""

    def __init__(self, groups: Groups) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, logits: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch classes"]:
        parts = [logits[:, list(group)] for group in self.groups]
        if all(len(group) == 1 for group in self.groups):
            return torch.cat(parts, 1)
        return torch.stack([part.amax(1) for part in parts], 1)


def read_class_map(source: Path | str | Mapping[str, Any]) -> ClassMap:
    """A class map from a JSON or CSV file, or from a dictionary. Raises UserError.

    JSON: ``{"cat": [281, 282], "dog": "beagle"}``. CSV: lines ``class,output``, several for a class
    with several outputs; a first line without an output of the head may name the columns. An output
    is its number, its name, or a range of numbers, ``151-268``.
    """
    pairs = _read(source) if isinstance(source, Path | str) else source
    return {str(name): _outputs(name, value) for name, value in pairs.items()}


def _read(file: Path | str) -> Mapping[str, Any]:
    path = Path(file).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text in UTF-8") from error
    if path.suffix.lower() == ".json":
        try:
            pairs = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: is not JSON: {error}") from error
        if not isinstance(pairs, dict):
            raise UserError(f"{path}: must be an object: class name to output")
        return pairs
    classes: dict[str, Any] = {}
    for number, line in enumerate(csv.reader(text.splitlines()), 1):
        if not line or [word.strip().lower() for word in line] == ["class", "output"]:
            continue
        if len(line) != 2:
            raise UserError(f"{path}: line {number} must be class,output")
        classes.setdefault(line[0].strip(), []).append(line[1].strip())
    return classes


def _outputs(name: Any, value: Any) -> list[int | str]:
    values = value if isinstance(value, list | tuple) else [value]
    outputs: list[int | str] = []
    for item in values:
        if isinstance(item, bool) or not isinstance(item, int | str):
            raise UserError(f"class map: '{name}' must have numbers or names of outputs")
        limits = (
            re.fullmatch(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", item) if isinstance(item, str) else None
        )
        if limits:
            first, last = int(limits[1]), int(limits[2] or limits[1])
            if last - first > 10**6:
                raise UserError(f"class map: '{name}' has the range {item}, which is too long")
            outputs += range(first, last + 1)
        else:
            outputs.append(item)
    if not outputs:
        raise UserError(f"class map: '{name}' has no output")
    return outputs


def join_classes(
    class_map: ClassMap, class_names: Sequence[str], outputs: int, head_names: Sequence[str] = ()
) -> Groups:
    """The numbers of the outputs of each class of the data.

    Raises UserError for a class that one of both sides lacks, an output that does not exist, and
    one that stands for two classes.
    """
    for name in class_map:
        if name not in class_names:
            raise UserError(
                f"class map: the data has no class '{name}'"
                f"{nearest(name, class_names) or ': it has ' + ', '.join(class_names[:10])}"
            )
    owners: dict[int, str] = {}
    groups = []
    for name in class_names:
        if name not in class_map:
            raise UserError(f"class map: class '{name}' of the data is missing")
        group = tuple(_number(value, outputs, head_names) for value in class_map[name])
        for number in group:
            if owners.setdefault(number, name) != name:
                raise UserError(
                    f"class map: output {number} stands for '{owners[number]}' and for '{name}'"
                )
        groups.append(tuple(dict.fromkeys(group)))
    return tuple(groups)


def _number(value: int | str, outputs: int, head_names: Sequence[str]) -> int:
    if isinstance(value, int):
        if not 0 <= value < outputs:
            raise UserError(f"class map: the head has no output {value}: it has {outputs}, from 0")
        return value
    places = [k for k, name in enumerate(head_names) if plain(name) == plain(value)]
    if not head_names:
        raise UserError(
            f"class map: the head's outputs have no names: give the number of '{value}'"
        )
    if not places:
        raise UserError(f"class map: the head has no output '{value}'{nearest(value, head_names)}")
    if len(places) > 1:
        raise UserError(f"class map: outputs {places} are all named '{value}': give the number")
    return places[0]


def plain(name: str) -> str:
    """A name for comparison: without case, and with spaces for underscores and dashes."""
    return re.sub(r"[\s_-]+", " ", name).strip().lower()


def join_by_name(class_names: Sequence[str], head_names: Sequence[str]) -> Groups | None:
    """The output with the name of each class; None if some class has no output of its name."""
    places = {plain(name): k for k, name in reversed([*enumerate(head_names)])}
    numbers = [places.get(plain(name)) for name in class_names]
    if None in numbers or len(set(numbers)) < len(numbers):
        return None
    return tuple((number,) for number in numbers if number is not None)
