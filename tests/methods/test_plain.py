"""Plain training: the cross-entropy and nothing else."""

import torch
from torch.nn import functional

from legible.methods.plain import Plain


def test_it_adds_no_term_no_parameter_and_no_transform(fit, take_step):
    fitted = fit("plain", epochs=1)
    step = take_step(fitted)
    assert fitted.method.penalty(step) == {}
    assert list(fitted.method.parameters()) == list(fitted.method.buffers()) == []
    for name, activation in step.activations.items():
        assert torch.equal(step.transformed[name], activation)


def test_the_history_holds_the_cross_entropy_alone(fit):
    line = fit("plain", epochs=1).state.history[0]
    assert set(line) == {"epoch", "cross_entropy", "loss", "accuracy"}
    assert line["loss"] == line["cross_entropy"]


def test_training_lowers_the_cross_entropy(fit, toy):
    def loss(fitted):
        images = toy.train.normalise(toy.train.images)
        return functional.cross_entropy(fitted.network(images).logits, toy.train.labels)

    assert loss(fit("plain", epochs=4)) < loss(fit("plain", epochs=1))


def test_the_baseline_is_a_method_not_a_null_row():
    assert Plain.kind == "method"
    assert Plain.trains and not Plain.parent and not Plain.needs
