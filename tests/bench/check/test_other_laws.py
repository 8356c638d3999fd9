"""Metrics, datasets and backbones that break one law each."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest

from legible.bench.check.conformance import check, failed, render
from legible.bench.check.law import LAWS

METRIC = """
import torch
from legible import metric

CALLS = []

@metric(aspect="focus", better="higher", per="{per}", null={null}, limits=({limits}))
def {name}({arguments}):
    {doc}
{body}
"""

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

BACKBONE = '''
from collections import OrderedDict
import torch
from torch import nn
from legible import backbone
from legible import Network, Tap

CALLS = []

@backbone
def {name}(image, classes, {parameters}):
    """One convolution."""
    parts = OrderedDict(
        conv=nn.Conv2d(image[0], 4, 3, padding=1), relu=nn.ReLU(), tap=Tap("conv"),
        average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), head=nn.Linear(4, classes),
    )
{body}
    net = nn.Sequential(parts)
    return Network(net, list(net), image)
'''

MEAN = "return layer.pooled.mean(0)"

#: The law that breaks -> name -> what is put into the template.
METRICS = {
    "describes_itself": {
        "undocumented": {"doc": "pass"},
        "unscoped": {"arguments": "thing, probe", "body": "return 1.0"},
        "no_null": {"null": "None"},
    },
    "gives_values_of_its_shape": {
        "too_few": {"body": "return layer.pooled.mean(0)[1:]"},
        "infinite": {"body": "return layer.pooled.mean(0) / 0"},
        "above": {"limits": "0.0, 1e-6"},
    },
    "works_without_concepts_and_with_dead_units": {
        "concepts_unsaid": {"body": "return layer.pooled.mean(0) + len(probe.concepts)"},
        "dead_divides": {"body": "return 1 / layer.pooled.amax(0)"},
    },
    "same_probe_same_value": {
        "draws": {"body": "return layer.pooled.mean(0) * torch.rand(())"},
        "counts": {"body": "CALLS.append(1)\nreturn layer.pooled.mean(0) * len(CALLS)"},
    },
    "changes_nothing": {
        "zeroes": {"body": "layer.activation[0] = 0\nreturn 0 * layer.pooled.mean(0)"},
    },
}  # fmt: skip
DATASETS = {
    "parameters_are_checked": {"untyped": {"parameters": "size=3"}},
    "splits_hold_images_and_labels": {
        "floats": {"body": "parts['train'] = (parts['train'][0] / 255, *parts['train'][1:])"},
        "fewer_labels": {"body": "parts['test'] = (parts['test'][0], parts['test'][1][1:], None)"},
        "other_size": {"body": "parts['test'] = part(10, 14)"},
        "absent_class": {"body": "classes, names = 3, ('a', 'b', 'c')"},
        "class_beyond": {"body": "parts['test'][1][0] = 2"},
        "other_name": {"body": "title = 'else'"},
    },
    "splits_are_disjoint": {"shared": {"body": "parts['test'][0][3] = parts['train'][0][5]"}},
    "splits_are_mixed": {
        "by_class": {"body": "parts['test'] = part(100, 12)\n"
                             "parts['test'][1][:] = torch.arange(100) // 50"},
    },
    "same_data_each_time": {
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
BACKBONES = {
    "parameters_are_checked": {"untyped": {"parameters": "width=3"}},
    "answers_with_logits_and_taps": {
        "no_tap": {"body": "del parts['tap']"},
        "no_network": {"body": "return nn.Sequential(parts)"},
        "no_logits": {"body": "parts['head'] = nn.Linear(4, classes + 1)"},
    },
    "runs_on_from_every_tap": {
        "around": {"body": "net = nn.Sequential(parts)\n"
                           "trunk = [m for m in net if m is not parts['relu']]\n"
                           "parts['tap'].register_forward_hook(lambda m, i, o: o.clamp(max=0.01))\n"
                           "found = Network(net, trunk, image)\n"
                           "return found"},
        "in_place": {"body": "parts = OrderedDict(conv=parts['conv'], tap=parts['tap'], "
                             "relu=nn.ReLU(inplace=True), tap2=Tap('second'), "
                             "shift=nn.Hardtanh(-1, .01, inplace=True), average=parts['average'],"
                             " flatten=parts['flatten'], head=parts['head'])"},
    },
    "same_seed_same_weights": {
        "fixed": {"body": "for p in nn.Sequential(parts).parameters():\n"
                          "    nn.init.constant_(p, 0.01)"},
        "counts": {"body": "CALLS.append(1)\n"
                           "nn.init.constant_(parts['head'].bias, len(CALLS))"},
    },
    "gradient_reaches_every_weight": {
        "idle": {"body": "parts['tap'].idle = nn.Linear(2, 2)"},
    },
}  # fmt: skip


def cases(table: dict) -> list[tuple[str, str]]:
    return [(law, name) for law, ways in table.items() for name in ways]


def broken(path: Path, template: str, **fields: str) -> dict[str, str]:
    """The laws that the filled template breaks, with their reasons."""
    body = indent(dedent(fields.pop("body", "pass")), "    ")
    path.write_text(template.format(name=path.stem, body=body, **fields))
    outcomes = check(path)
    return {o.check: o.reason for o in outcomes if o.status == "fail"}


@pytest.mark.parametrize(("law", "name"), cases(METRICS))
def test_each_law_of_metrics(law: str, name: str, tmp_path: Path, kept_registry: None) -> None:
    fields = {"per": "unit", "null": "0.0", "limits": "-float('inf'), float('inf')",
              "arguments": "layer, probe", "doc": '"""A number."""', "body": MEAN}  # fmt: skip
    found = broken(tmp_path / f"{name}.py", METRIC, **(fields | METRICS[law][name]))
    assert set(found) == {law}, found


@pytest.mark.parametrize(("law", "name"), cases(DATASETS))
def test_each_law_of_datasets(law: str, name: str, tmp_path: Path, kept_registry: None) -> None:
    fields = {"parameters": "seed: int = 0", **DATASETS[law][name]}
    found = broken(tmp_path / f"{name}.py", DATASET, **fields)
    assert set(found) == {law}, found


@pytest.mark.parametrize(("law", "name"), cases(BACKBONES))
def test_each_law_of_backbones(law: str, name: str, tmp_path: Path, kept_registry: None) -> None:
    fields = {"parameters": "width: int = 4", **BACKBONES[law][name]}
    found = broken(tmp_path / f"{name}.py", BACKBONE, **fields)
    assert set(found) == {law}, found


@pytest.mark.parametrize(
    ("kind", "table"), [("metrics", METRICS), ("datasets", DATASETS), ("backbones", BACKBONES)]
)
def test_every_law_is_broken_once(kind: str, table: dict) -> None:
    assert set(table) == set(LAWS[kind])


def test_missing_data_skips_with_the_way_to_get_it(toy_plugin: Path) -> None:
    outcomes = {o.check: o for o in check("toy", missing=True)}
    found = outcomes["splits_hold_images_and_labels"]
    assert (found.status, found.reason) == (
        "skip", "the data is not here: toy is not here; it is made, not fetched",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["vgg", "mlp", "lenet5", "resnet18"])
def test_built_in_backbones_keep_every_law(name: str) -> None:
    outcomes = check(name)
    assert not failed(outcomes), render(outcomes)
