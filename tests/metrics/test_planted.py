"""Networks whose answer is known give that answer, metric by metric."""

import functools
import math
from pathlib import Path

import pytest
import torch
from planted_probes import probe_planted

from legible.bench.backbones import planted as networks
from legible.bench.data.planted import planted
from legible.bench.plugins import registry
from legible.metrics.base import METRICS, Probe
from legible.metrics.modules import layer_modules, spectral_modules

registry.load()


@functools.cache
def probed(network: str, data: frozenset, params: frozenset) -> Probe:
    loaded = planted(Path(), **dict(data))
    build = getattr(networks, f"planted_{network}")
    return probe_planted(build(loaded.image, len(loaded.class_names), **dict(params)), loaded)


def answers(network: str, layer: str = "parts", data: dict | None = None, **params):
    """A function from a metric's name to its value on a planted network; and its probe."""
    probe = probed(network, frozenset((data or {}).items()), frozenset(params.items()))

    def of(metric: str):
        item = METRICS[metric]
        where = probe.network if item.per == "network" else probe.layers[layer]
        return item.function(where, probe)

    return of, probe


def test_a_suite_names_them():
    data = registry.get("datasets", "planted")(Path(), parts=4, noise=16)
    for name in ("parts", "faults", "blocks", "localizer"):
        network = registry.get("backbones", f"planted_{name}")(data.image, 4)
        images = data.test.normalise(data.test.images[:3])
        assert network(images).logits.shape == (3, 4)


def test_blocks_without_their_noise_channels_say_what_is_missing():
    with pytest.raises(ValueError, match="noise=16"):
        networks.planted_blocks((4, 32, 32), 4)


# ----------------------------------------------------------------- one part each


def test_units_that_detect_one_part_each():
    of, probe = answers("parts")
    assert probe.measurable == {"parts"}
    assert of("accuracy") == 1
    assert of("unique_detectors") == of("detectors") == 12
    for metric in (
        "class_selectivity",
        "class_information_share",
        "part_interpretability",
        "concept_auc",
        "concept_purity",
    ):
        torch.testing.assert_close(of(metric), torch.ones(12).double(), atol=1e-6, rtol=0)
    assert of("netdissect_iou").min() > 0.75  # the oracle's value on this map
    assert of("accuracy_own_units") == 1
    assert of("accuracy_other_units") == pytest.approx(1 / 12)  # no logit differs: class 0
    assert of("effective_rank") == pytest.approx(12, abs=0.01)
    assert of("focus_dispersion").max() < 0.15
    assert of("location_instability").max() < 0.03


# ----------------------------------------------------------------- k parts each


@pytest.mark.parametrize("each", [2, 3, 5])
def test_units_that_detect_several_parts(each):
    of, _ = answers("parts", each=each)
    # class means are equal for the unit's own parts and zero for the other classes
    expected = (1 - (each - 1) / 11) / (1 + (each - 1) / 11)
    selectivity = of("class_selectivity")
    torch.testing.assert_close(selectivity, torch.full_like(selectivity, expected))
    # knowing the unit fires leaves one of ``each`` classes
    entropy = torch.special.entr(torch.tensor([1 / 12, 11 / 12]).double()).sum()
    left = each / 12 * torch.special.entr(torch.tensor([1 / each, 1 - 1 / each]).double()).sum()
    share = of("class_information_share").mean().item()
    assert share == pytest.approx(float((entropy - left) / entropy), abs=0.06)
    assert of("concept_purity").max() <= 0.8


def test_scores_fall_as_units_detect_more_parts():
    falling = [
        "netdissect_iou",
        "concept_auc",
        "concept_purity",
        "class_selectivity",
        "class_information_share",
        "accuracy_own_units",
    ]
    means = {
        each: {m: float(torch.as_tensor(answers("parts", each=each)[0](m)).mean()) for m in falling}
        for each in (1, 3, 6)
    }
    for metric in falling:
        assert means[1][metric] > means[3][metric] >= means[6][metric], metric


# ----------------------------------------------------------------- faults


UNIT_METRICS = [
    "class_selectivity",
    "class_information",
    "class_information_share",
    "netdissect_iou",
    "netdissect_iou_lite",
    "part_interpretability",
    "concept_auc",
    "concept_purity",
    "focus_dispersion",
    "focus_spread",
    "focus_distance",
    "location_instability",
    "location_instability_own_class",
]


@pytest.mark.parametrize("metric", UNIT_METRICS)
def test_dead_copied_and_constant_units(metric):
    of, _ = answers("faults")
    healthy = answers("parts")[0](metric)
    values = of(metric)
    assert values[0].isnan()
    assert values[1] == values[2]
    torch.testing.assert_close(values[4:], healthy[4:])
    assert values[1:].isfinite().all()


def test_a_constant_unit_has_no_class_and_no_place():
    of, probe = answers("faults")
    assert of("class_selectivity")[3] == 0 and of("class_information")[3] == 0
    assert of("netdissect_iou")[3] < 0.01 and of("part_interpretability")[3] == 0
    assert of("concept_auc")[3] == 0.5
    assert of("focus_spread")[3].item() == pytest.approx(
        METRICS["focus_spread"].null(probe.layers["parts"], probe)
    )


def test_counts_leave_out_dead_and_copied_units():
    of, _ = answers("faults")
    assert of("detectors") == 10  # neither the dead nor the constant unit
    assert of("unique_detectors") == 9  # the copy detects what its original does
    # ten live directions, one of them twice: eigenvalues 2 and eight times 1 of 10
    shares = torch.tensor([2.0] + [1.0] * 8) / 10
    rank = torch.special.entr(shares).sum().exp().item()
    assert of("effective_rank") == pytest.approx(rank, abs=0.02)


# ----------------------------------------------------------------- blocks


@pytest.mark.parametrize("layer", ["parts", "dense"])
def test_blocks_are_the_modules(layer):
    of, probe = answers("blocks", layer, data={"parts": 4, "noise": 16})
    blocks = torch.arange(4).repeat_interleave(4)
    for partition in (layer_modules(probe.layers[layer]), spectral_modules(probe.layers[layer])):
        assert torch.equal(partition[:, None] == partition, blocks[:, None] == blocks)
    assert of("modularity") == pytest.approx(0.75, abs=0.01)  # 1 - 1 / 4
    assert of("coverage") == 1 and of("module_count") == 4
    # the members of a block are copies: merged, no two units are correlated
    assert of("modularity_z") > 3 and math.isnan(of("modularity_excess"))
    assert of("weight_ncut") == pytest.approx(0, abs=1e-6) and of("weight_ncut_z") < -3


@pytest.mark.parametrize("layer", ["parts", "dense"])
def test_a_block_s_lesion_costs_its_class_alone(layer):
    of, _ = answers("blocks", layer, data={"parts": 4, "noise": 16})
    assert of("accuracy") == 1
    torch.testing.assert_close(of("lesion_importance"), torch.full((4,), 0.25).double())
    assert of("lesion_specificity").tolist() == pytest.approx([4] * 4)
    assert of("lesion_specificity_percentile").min() > 0.95


# ----------------------------------------------------------------- localizer


@pytest.mark.parametrize("down, right", [(0, 0), (1, -2), (-2, 0)])
def test_localizer_fires_at_its_attention_point(down, right):
    data = {"side": 4, "aligned": True, "test": 480}
    of, probe = answers("localizer", data=data, down=down, right=right)
    assert of("focus_dispersion").max() == 0
    assert of("focus_spread").max().item() == pytest.approx(0, abs=1e-6)
    assert of("location_instability").max().item() == pytest.approx(0, abs=1e-9)
    layer = probe.layers["parts"]
    fired = layer.activation.flatten(1).amax(1) > 0
    position = layer.activation.amax(1).flatten(1).argmax(1)[fired]
    masks = probe.concepts.masks()[fired].any(1)
    top, left = masks.any(2).int().argmax(1) // 4, masks.any(1).int().argmax(1) // 4
    assert torch.equal(position // 8 - top, torch.full_like(top, down))
    assert torch.equal(position % 8 - left, torch.full_like(left, right))
    right_by_chance = ~fired & (probe.labels == 0)  # without activation the answer is class 0
    assert of("accuracy") == pytest.approx((fired | right_by_chance).float().mean().item())
