"""The answer that each metric must give on a planted network: law "known" (see metrics/laws.py).

The values follow from the hand-set weights of bench/backbones/planted.py.
tests/bench/cards/test_planted_answers.py checks them, and each metric's card shows its own.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Answer(NamedTuple):
    """The mean value on a planted network, its tolerance, and the reason for the value."""

    network: str  # "parts": one part a unit; "blocks": four blocks of four units, four classes
    value: float
    tolerance: float = 1e-6
    why: str = ""


def _entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


_ONE_PART = "each unit detects one part, and each class has one"
_SPECIFIC = "a block feeds its class alone"
_BLOCKS = "the blocks are the modules, on any images and in any copy of the network"
_CHANCE = "a permutation null has mean 0 by construction"

ANSWERS: dict[str, Answer] = {
    "accuracy": Answer("parts", 1, why="the head reads each class off its part's unit"),
    "focus_dispersion": Answer("parts", 0.08, 0.08, "a part covers 2 to 3 of 8 positions a side"),
    "focus_compactness": Answer("parts", 0.92, 0.05, "a part covers 2 to 3 of 8 positions a side"),
    "focus_spread": Answer("parts", 0.26, 0.08, "a part covers 2 to 3 of 8 positions a side"),
    "focus_distance": Answer("parts", 0.85, 0.02, "the silent background takes part: near null"),
    "location_instability": Answer("parts", 0, 0.03, "the peak is at the part's position"),
    "location_instability_own_class": Answer(
        "parts", 0, 0.03, "the peak is at the part's position"
    ),
    "netdissect_iou": Answer("parts", 0.83, 0.03, "the oracle's value on this map"),
    "netdissect_iou_lite": Answer("parts", 0.77, 0.04, "as netdissect_iou, a sixth of the images"),
    "part_interpretability": Answer("parts", 1, why=_ONE_PART),
    "concept_auc": Answer("parts", 1, 1e-6, "the part's positions respond most"),
    "concept_localisation": Answer("parts", 11 / 12, 1e-6, "1, less a unit of 12 that finds it"),
    "concept_precision": Answer("parts", 1, 1e-6, "the highest responses lie in the part"),
    "concept_coverage": Answer("parts", 1, 1e-6, "12 units, a part each"),
    "concept_purity": Answer("parts", 1, why=_ONE_PART),
    "detectors": Answer("parts", 12, why="12 units"),
    "unique_detectors": Answer("parts", 12, why="12 units, a part each"),
    "class_selectivity": Answer("parts", 1, why=_ONE_PART),
    "class_information": Answer("parts", _entropy(1 / 12), 0.001, "the entropy of one class in 12"),
    "class_information_share": Answer("parts", 1, 1e-3, _ONE_PART),
    "accuracy_all_units": Answer("parts", 1, why="the network's accuracy"),
    "accuracy_own_units": Answer("parts", 1, why=_ONE_PART),
    "accuracy_other_units": Answer("parts", 1 / 12, 1e-6, "no logit differs: class 0"),
    "own_unit_share": Answer("parts", 11 / 12, 1e-6, "1, less chance: no logit differs"),
    "modularity": Answer("blocks", 0.75, 0.01, "1 - 1/4: four equal blocks"),
    "coverage": Answer("blocks", 1, why="every unit has its block"),
    "module_count": Answer("blocks", 4, why="four blocks"),
    "spectral_module_count": Answer("blocks", 4, why="four blocks"),
    "effective_rank": Answer("blocks", 4, 0.2, "four blocks' worth of responses"),
    "within_between": Answer("blocks", 1.6, 0.1, "4 units of similarity 2 against 12 of 2/3"),
    "claimed_modularity": Answer("blocks", 0.75, 0.01, "1 - 1/4: four equal blocks"),
    "claimed_within_between": Answer("blocks", 1.6, 0.1, "as within_between"),
    "weight_ncut": Answer("blocks", 0, why="no weight leaves a block"),
    **{
        name + suffix: Answer("blocks", value, tolerance, why)
        for suffix in ("", "_splits", "_seeds")
        for name, value, tolerance, why in (
            ("ari", 1, 1e-6, _BLOCKS),
            ("ami", 1, 1e-6, _BLOCKS),
            ("ari_null", 0, 0.02, _CHANCE),
            ("ami_null", 0, 0.02, _CHANCE),
            ("consistency_coverage", 1, 1e-6, "every unit has its block"),
        )
    },
    "matched_correlation": Answer("blocks", 1, 1e-5, "the same network twice"),
    "matched_correlation_excess": Answer("blocks", 0.97, 0.03, "1, less what chance matches"),
    "matched_dimensions": Answer("parts", 0.97, 0.03, "1, less what chance matches"),
    "module_selectivity": Answer("blocks", 0.757, 0.01, "(1 - b)/(1 + b), b the noise's share"),
    "module_information_share": Answer("blocks", 1, 1e-3, _SPECIFIC),
    "lesion_importance": Answer("blocks", 0.25, why="one class of four is lost"),
    "lesion_importance_percentile": Answer("blocks", 1, 0.01, "other groups leave each class some"),
    "lesion_specificity": Answer("blocks", 4, why="all of the loss is one class's: classes"),
    "lesion_specificity_percentile": Answer("blocks", 1, 0.05, _SPECIFIC),
    "claimed_lesion_importance_percentile": Answer("blocks", 1, 0.01, "as unclaimed"),
    "claimed_lesion_specificity_percentile": Answer("blocks", 1, 0.05, "as unclaimed"),
    "attribution_audit": Answer("parts", 1, why="every algorithm runs as it should"),
    "silent_attributions": Answer("parts", 0, 1e-6, "every map says something"),
    "relevance_chance": Answer("parts", 64 / 1024, why="a part's share of the image"),
    "conductance_agreement": Answer("blocks", 1, 1e-6, "both are the unit's share of its logit"),
    "pruned_accuracy_dense": Answer("parts", 0.87, 0.1, "11 of 12 weights are 0 already"),
    "free_sparsity_dense": Answer("parts", 0.9, 1e-6, "11 of 12 weights are 0 already"),
    "effective_units": Answer("parts", 1, why="each feeds its class"),
    "effective_weights": Answer("parts", 1 / 12, 1e-6, "a class a unit"),
}
