"""`legible show`: which layer and which units are drawn (tests/bench/cli tests the command)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_suites import specs_of, toy_suite, work

from legible.bench.errors import UserError
from legible.bench.leaderboard.figures import units
from legible.bench.leaderboard.figures.units import UnitChoice, draw_run, layer_named, most_active
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network
from legible.methods.base import METHODS


@pytest.fixture(scope="module")
def probe():
    registry.load()
    data = registry.get("datasets", "planted")(Path(), parts=4, noise=16, test=80)
    network = registry.get("backbones", "planted_faults")(data.image, 4)
    return probe_network(network, METHODS["plain"](), data.test, ["all"])


def test_a_layer_s_name_does_not_lead_out_of_the_run_s_folder(
    workspace, tmp_path, monkeypatch, kept_registry
):
    (spec,) = specs_of(tmp_path, toy_suite())
    work(workspace, [spec])
    for name in ("../../escape", "a/b", "x" * 300):
        monkeypatch.setattr(units, "layer_named", lambda probe, layer, name=name: replace(
            layer_named(probe, layer), name=name))  # fmt: skip
        path = draw_run(workspace, workspace.run_of(spec).name, UnitChoice([0]), None)
        assert path.parent == workspace.run_of(spec).folder and path.is_file()
    assert path.name == f"units-{'x' * 87}-{path.name[-16:-4]}.png"


def test_the_last_layer_with_a_map_is_the_default(probe):
    assert layer_named(probe, None).spatial
    with pytest.raises(UserError, match=r"no probed layer 'part'; did you mean 'parts'"):
        layer_named(probe, "part")


def test_the_units_with_the_largest_peaks_come_first(probe):
    layer = layer_named(probe, "parts")
    peaks = layer.activation.flatten(2).amax(2).amax(0)
    first = most_active(layer, 3)
    assert len(first) == 3 and first[0] == int(peaks.argmax())
    assert 0 not in most_active(layer, layer.units - 1)  # the planted dead unit is last


def test_modules_and_two_runs_are_drawn_and_what_does_not_fit_is_refused(
    workspace, tmp_path, kept_registry
):
    plain, bean = specs_of(tmp_path, toy_suite('"plain", "bean"'))
    work(workspace, [plain, bean])
    first, second = (workspace.run_of(spec).name for spec in (plain, bean))
    walls = draw_run(workspace, first, UnitChoice(modules=True), None)
    assert walls.name.startswith("modules-") and walls.read_bytes().startswith(b"\x89PNG")
    alone, both = tmp_path / "alone.png", tmp_path / "both.png"
    draw_run(workspace, second, UnitChoice([0, 1]), alone)
    draw_run(workspace, second, UnitChoice([0, 1]), both, beside=first)
    assert width(both) > 1.5 * width(alone)
    with pytest.raises(UserError, match="leave out --units"):
        draw_run(workspace, first, UnitChoice([0], modules=True), None)
    with pytest.raises(UserError, match="has units 0 to"):
        draw_run(workspace, first, UnitChoice([99]), None, beside=second)


def width(path):
    return int.from_bytes(path.read_bytes()[16:20], "big")
