"""Laws about datasets: each is broken by a plugin of its own."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest
from broken_plugins import failures, laws_in, outcomes_of

from legible.bench.check import dataset_laws

DATASET = '''
import torch
from legible import Dataset, Split, dataset, make_splits
from legible import Concepts

CALLS = []

@dataset
def {name}(root, {parameters}):
    """Noise."""
    generator = torch.Generator().manual_seed(0)
    def part(count, size=12):
        images = torch.randint(256, (count, 1, size, size), generator=generator)
        return images.to(torch.uint8), torch.arange(count) % 2, None
    parts = dict(train=part(20), validation=part(10), test=part(10))
    classes, names, title = 2, ("a", "b"), "{name}"
{body}
    return Dataset(title, names, **make_splits(parts, classes))
'''


#: Law -> name of a plugin -> what is put into the template.
BROKEN = {
    "parameters_are_checked": {"untyped": {"parameters": "size=3"}},
    "splits_have_images_and_labels": {
        "floats": {"body": "parts['train'] = (parts['train'][0] / 255, *parts['train'][1:])"},
        "fewer_labels": {"body": "parts['test'] = (parts['test'][0], parts['test'][1][1:], None)"},
        "other_size": {"body": "parts['test'] = part(10, 14)"},
        "absent_class": {"body": "classes, names = 3, ('a', 'b', 'c')"},
        "class_beyond": {"body": "parts['test'][1][0] = 2"},
        "other_name": {"body": "title = 'else'"},
    },
    "splits_are_disjoint": {"shared": {"body": "parts['test'][0][3] = parts['train'][0][5]"}},
    "splits_are_shuffled": {
        "by_class": {"body": "parts['test'] = part(100, 12)\n"
                             "parts['test'][1][:] = torch.arange(100) // 50"},
    },
    "every_load_is_equal": {
        "unseeded": {"body": "parts['train'][0].random_(0, 255, generator=None)"},
        "counts": {"body": "CALLS.append(1)\nparts['train'][0][0] = len(CALLS)"},
    },
    "concepts_fit_the_images": {
        "narrow": {"body": "for k, (x, y, _) in parts.items():\n"
                           "    masks = torch.zeros(len(x), 1, 12, 11, dtype=torch.bool)\n"
                           "    concepts = Concepts.pack(masks, ['m'], ['part'], [True])\n"
                           "    parts[k] = (x, y, concepts)"},
        "test_without": {"body": "x, y, _ = parts['train']\n"
                                 "masks = torch.zeros(len(x), 1, 12, 12, dtype=torch.bool)\n"
                                 "concepts = Concepts.pack(masks, ['m'], ['part'], [True])\n"
                                 "parts['train'] = (x, y, concepts)"},
    },
}  # fmt: skip
DEFAULTS = {"parameters": "seed: int = 0"}


def write_plugin(path: Path, **fields: str) -> Path:
    """Writes a dataset's file from the template."""
    fields = DEFAULTS | fields
    body = indent(dedent(fields.pop("body", "pass")), "    ")
    path.write_text(DATASET.format(name=path.stem, body=body, **fields))
    return path


@pytest.mark.parametrize(
    ("law", "name"), [(law, name) for law, plugins in BROKEN.items() for name in plugins]
)
def test_only_the_broken_law_fails(
    law: str, name: str, tmp_path: Path, kept_registry: None
) -> None:
    reasons = failures(write_plugin(tmp_path / f"{name}.py", **BROKEN[law][name]))
    assert set(reasons) == {law}, reasons


def test_every_law_is_broken_by_a_plugin() -> None:
    assert set(BROKEN) == laws_in(dataset_laws, "datasets")


def test_a_plugin_that_breaks_no_law_passes(tmp_path: Path, kept_registry: None) -> None:
    assert failures(write_plugin(tmp_path / "sound.py")) == {}


def test_missing_data_skips_with_the_way_to_get_it(toy_plugin: Path) -> None:
    outcome = outcomes_of("toy", missing=True)["splits_have_images_and_labels"]
    assert outcome.status == "skip"
    assert outcome.reason == "the data is missing: toy is not here; it is made, not fetched"
