"""Laws about backbones: each is broken by a plugin of its own."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest
from broken_plugins import failures, laws_in

from legible.bench.check import backbone_laws

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


#: Law -> name of a plugin -> what is put into the template.
BROKEN = {
    "parameters_are_checked": {"untyped": {"parameters": "width=3"}},
    "returns_logits_and_activations": {
        "no_tap": {"body": "del parts['tap']"},
        "no_network": {"body": "return nn.Sequential(parts)"},
        "no_logits": {"body": "parts['head'] = nn.Linear(4, classes + 1)"},
    },
    "continues_from_every_tap": {
        "around": {"body": "net = nn.Sequential(parts)\n"
                           "trunk = [m for m in net if m is not parts['relu']]\n"
                           "parts['tap'].register_forward_hook(lambda m, i, o: o.clamp(max=0.01))\n"
                           "return Network(net, trunk, image)"},
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
DEFAULTS = {"parameters": "width: int = 4"}


def write_plugin(path: Path, **fields: str) -> Path:
    """Writes a backbone's file from the template."""
    fields = DEFAULTS | fields
    body = indent(dedent(fields.pop("body", "pass")), "    ")
    path.write_text(BACKBONE.format(name=path.stem, body=body, **fields))
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
    assert set(BROKEN) == laws_in(backbone_laws, "backbones")


def test_a_plugin_that_breaks_no_law_passes(tmp_path: Path, kept_registry: None) -> None:
    assert failures(write_plugin(tmp_path / "sound.py")) == {}


@pytest.mark.parametrize("name", ["vgg", "mlp", "lenet5", "resnet18"])
def test_built_in_backbones_follow_every_law(name: str) -> None:
    assert failures(name) == {}
