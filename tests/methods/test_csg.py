"""CSG: gate, projection, regulariser, schedule, and its laws."""

import pytest
import torch
from torch.nn import functional

from legible.methods.csg import CSG, apply_gate, excess, project


def test_the_gate_scales_each_image_by_its_labels_column():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(4, 3, 2, 2, generator=generator)
    gate = torch.rand(3, 5, generator=generator)
    labels = torch.tensor([4, 0, 2, 2])
    expected = torch.empty_like(maps)
    for n in range(4):
        for k in range(3):
            expected[n, k] = maps[n, k] * gate[k, labels[n]]
    assert torch.equal(apply_gate(maps, gate, labels), expected)
    torch.testing.assert_close(apply_gate(maps.mean((2, 3)), gate, labels), expected.mean((2, 3)))


def test_the_regulariser_is_the_norm_above_the_density():
    gate = torch.full((4, 5), 0.5, requires_grad=True)
    value = excess(gate, 0.2)
    torch.testing.assert_close(value, torch.tensor(20 * 0.5 - 20 * 0.2))
    value.backward()
    assert torch.equal(gate.grad, torch.ones(4, 5))
    sparse = torch.full((4, 5), 0.1, requires_grad=True)
    excess(sparse, 0.2).backward()
    assert not sparse.grad.any()


def test_rows_are_divided_by_their_maximum_and_clipped():
    gate = torch.tensor([[0.2, 0.4, -0.1], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [-1.0, -2.0, -3.0]])
    expected = torch.tensor([[0.5, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(project(gate), expected)
    official = gate / gate.amax(1, keepdim=True)
    assert official[2].isnan().all(), "the code's zero row"
    assert (official[3].clamp(0, 1) == 1).all(), "the code's negative row"
    torch.testing.assert_close(project(gate)[:2], official[:2].clamp(0, 1))


@pytest.mark.parametrize(
    ("schedule", "epochs"),
    [
        ({}, [1, 2, 4, 5, 7, 8]),
        ({"start": 0.4, "first": 2}, [5, 8]),
        ({"start": 0.0, "period": 1, "first": 0}, list(range(10))),
        ({"start": 0.95}, []),
    ],
)
def test_gate_epochs(schedule, epochs):
    method = CSG(**schedule)
    assert [e for e in range(10) if method.is_open(e, e / 10)] == epochs
    assert (method.idle(10) == "") == (len(epochs) > 0)


def test_official_schedule():
    """47 of 151 epochs with the values of the repository's run script."""
    method = CSG(start=10 / 151, period=3, first=2)
    assert sum(method.is_open(e, e / 151) for e in range(151)) == 47


def test_the_gate_opens_at_a_share_of_any_training_or_the_method_says_that_it_never_does():
    for epochs in (2, 4, 12, 150):
        assert CSG().idle(epochs) == ""
        assert not CSG().is_open(1, 0.06) and CSG().is_open(1, 0.07)
    assert "in none of 1 epochs: lower start or first" in CSG().idle(1)
    assert "in none of 2 epochs" in CSG(first=2).idle(2)


def slow_gated_loss(maps, gate, labels, head):
    """The cross-entropy of the head on maps that are gated image by image, in float64."""
    pooled = [
        (maps[n] * gate[:, c, None, None]).mean((1, 2)) for n, c in enumerate(labels.tolist())
    ]
    logits = torch.stack(pooled) @ head.weight.double().T + head.bias.double()
    return functional.cross_entropy(logits, labels)


def test_penalty_is_the_gated_cross_entropy_and_its_gradient(fit, take_step):
    fitted = fit("csg", {"strength": 0.5}, epochs=0)
    step = take_step(fitted, epoch=1)
    terms = fitted.method.penalty(step)
    maps, head = step.activations["conv6"].double(), fitted.network.backbone.head
    gate = fitted.method.gate.detach().double().requires_grad_()
    loss = slow_gated_loss(maps, gate, step.labels, head)
    torch.testing.assert_close(terms["gated"].double(), 0.5 * loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        terms["gate"].item(), 0.5 * 1e-3 * (0.5 - 0.2) * gate.numel(), rtol=1e-5, atol=0
    )
    ours = torch.autograd.grad(terms["gated"], fitted.method.gate, retain_graph=True)[0]
    (0.5 * loss).backward(retain_graph=True)
    torch.testing.assert_close(ours.double(), gate.grad, rtol=1e-4, atol=1e-7)
    assert torch.autograd.grad(terms["gated"], fitted.network.backbone.conv6.weight)[0].any()


def test_nothing_is_added_outside_gate_epochs_nor_gated_at_evaluation(fit, take_step, toy):
    fitted = fit("csg", epochs=0)
    assert fitted.method.penalty(take_step(fitted, epoch=0)) == {}
    fitted = fit("csg", epochs=3)
    images = toy.test.normalise(toy.test.images)
    out = fitted.network(images)
    assert torch.equal(out.activations["conv6"], out.transformed["conv6"])


def test_the_learned_gate_obeys_its_constraints_and_claims_a_partition(fit):
    fitted = fit("csg", {"gate_lr": 0.1}, epochs=6)
    gate = fitted.method.gate
    torch.testing.assert_close(gate.amax(1), torch.ones(16))
    assert gate.min() >= 0
    assert gate.mean() < 0.9, "the gate has become sparser than all ones"
    classes = fitted.method.partition(fitted.network)["conv6"]
    assert ((classes >= -1) & (classes < 3)).all()
    assert (classes >= 0).any()


def test_random_assignment_is_fixed_and_balanced(fit):
    first, later = (fit("csg", {"assignment": "random"}, epochs=e).method for e in (0, 3))
    assert torch.equal(first.gate, later.gate)
    assert first.gate.sum(1).eq(1).all()
    assert first.gate.sum(0).tolist() in ([6, 5, 5], [5, 6, 5], [5, 5, 6])
    assert not list(later.parameters())


@pytest.mark.parametrize("assignment", ["learned", "random"])
def test_laws(check_laws, assignment):
    check_laws("csg", {"assignment": assignment})


def test_parameters_are_checked(fit):
    with pytest.raises(ValueError, match="first"):
        CSG(first=3)
    with pytest.raises(ValueError, match="share of the training"):
        CSG(start=10.0)
    with pytest.raises(ValueError, match="last Tap"):
        fit("csg", {"taps": ["conv1"]}, epochs=0)
