"""Titles of blocks in sentences, tables and figures: the parameters of long names are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from legible.bench.suites.run_spec import Block

#: A name up to this length stands as it is.
LONGEST = 30


def short_titles(blocks: Iterable[Block]) -> dict[Block, str]:
    """A title for each block: ``kanji · vgg``.

    A name of more than `LONGEST` characters is shown without its parameters, or as the folder that
    its parameter ``path`` names: ``coco(path=data/birds,size=144,class_concept=bird)`` becomes
    ``birds``. Names that would then be the same stand as they are.
    """
    blocks = list(blocks)
    datasets = _short_names(block.dataset for block in blocks)
    backbones = _short_names(block.backbone for block in blocks)
    return {b: f"{datasets[b.dataset]} · {backbones[b.backbone]}" for b in blocks}


def _short_names(names: Iterable[str]) -> dict[str, str]:
    shorts = {name: _short_name(name) for name in names}
    counts = list(shorts.values())
    return {
        name: short if counts.count(short) == 1 else name
        for name, short in shorts.items()
    }  # fmt: skip


def _short_name(name: str) -> str:
    if len(name) <= LONGEST:
        return name
    path = re.search(r"[(,]path=([^,)]*)", name)
    folder = path[1].rstrip("/").rpartition("/")[2] if path else ""
    return folder or name.partition("(")[0]
