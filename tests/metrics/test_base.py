"""Registration of metrics, and scores."""

import numpy as np
import pytest
import torch
from planted_probes import random_probe

from legible.metrics import base
from legible.metrics.base import Score, as_values, metric, scope, unmet


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr(base, "METRICS", {})


def register(**arguments):
    @metric(**{"aspect": "task", "better": "higher", "per": "layer"} | arguments)
    def brightness(layer, probe):
        """Mean of the images.

        More text.
        """
        return probe.images.mean()

    return base.METRICS["brightness"]


def test_a_metric_is_registered_under_its_functions_name():
    item = register(needs=["trunk"], breaks={"dose": "constant"})
    assert (item.title, item.summary) == ("brightness", "Mean of the images.")
    assert item.needs == {"trunk"} and item.origin == __file__
    assert register(title="light").title == "light"  # the same file may define it again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"aspect": "tasks"}, "unknown aspect 'tasks': did you mean 'task'?"),
        ({"needs": {"concept"}}, "unknown need 'concept': did you mean 'concepts'?"),
        ({"breaks": {"xyz": ""}}, "unknown law 'xyz': choose from known, order, scale, dose"),
    ],
)
def test_unknown_names_are_an_error_with_the_nearest_one(arguments, message):
    with pytest.raises(ValueError) as error:
        register(**arguments)
    assert str(error.value).startswith(f"metric 'brightness': {message}")
    assert not base.METRICS


def test_undefined_values_count_as_the_null_in_the_mean():
    values = np.array([1.0, np.nan, 0.5])
    score = Score("x", "layer", values, null=0.0)
    assert (score.value, score.live, score.undefined) == (0.5, 0.75, 1)
    assert Score("x", "layer", values).value == 0.75  # without a null
    assert np.isnan(Score("x", "layer", values, null=0.0, reason="no images").value)
    assert np.isnan(Score("x", "layer", np.array([np.nan])).live)


def test_results_become_arrays_of_one_dimension():
    for result in (2, 2.0, torch.tensor(2.0), torch.tensor([2.0])):
        values = as_values(result)
        assert values.dtype == np.float64 and values.tolist() == [2]


def test_the_first_argument_gives_the_scope():
    assert scope(lambda layer, probe: 0) == "layer"
    assert scope(lambda mine, theirs: 0) == "seeds"
    with pytest.raises(ValueError, match="the first argument must be one of layer, network"):
        scope(lambda images: 0)


def test_reasons_why_a_metric_cannot_be_computed():
    layer, probe = random_probe()
    assert unmet(register(needs=["concepts", "spatial", "trunk"]), layer, probe) == ""
    assert unmet(register(needs=["validations"]), layer, probe) == base.NEEDS["validations"]
    assert unmet(register(), layer, probe.subset(slice(0))) == "too few images (0)"
    probe.concepts = probe.concepts.images(slice(7))
    assert unmet(register(), layer, probe) == ""
    assert unmet(register(needs=["concepts"]), layer, probe) == (
        "concept masks of 7 x 24 x 24 for images of 60 x 24 x 24"
    )
    layer.activation.fill_(torch.nan)
    layer.memo.clear()
    assert unmet(register(), layer, probe) == "no unit of the layer has finite activations"
