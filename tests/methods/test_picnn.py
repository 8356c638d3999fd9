"""PICNN: the straight-through pathway on fixed draws, and its laws."""

import pytest
import torch
from torch.nn import functional

from legible.methods.picnn import PICNN, draw_class, filter_mask, straight_through


def test_straight_through_has_ones_value_and_the_others_gradient():
    slope = torch.tensor([0.3, 0.6], requires_grad=True)
    out = straight_through(torch.tensor([1.0, 0.0]), slope)
    assert out.tolist() == [1.0, 0.0]
    out.sum().backward()
    assert slope.grad.tolist() == [1.0, 1.0]


def test_classes_are_drawn_with_their_probabilities():
    probabilities = torch.tensor([0.2, 0.5, 0.3, 0.0]).repeat(20000, 1)
    classes = draw_class(probabilities, torch.Generator().manual_seed(0))
    share = torch.bincount(classes, minlength=4) / 20000
    torch.testing.assert_close(share, probabilities[0], atol=0.015, rtol=0)
    assert share[3] == 0


def test_mask_value_and_gradients_on_fixed_draws():
    """Value: Bernoulli of the drawn class's shares. Gradients: those of softmax @ share."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    matrix = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    uniform = torch.rand(5, 4, generator=generator, dtype=torch.float64)
    classes = torch.tensor([0, 2, 1, 2, 0])
    upstream = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    mask = filter_mask(logits.softmax(1), classes, matrix.softmax(0), uniform)
    for n in range(5):
        for k in range(4):
            p = matrix[:, k].exp() / matrix[:, k].exp().sum()
            assert mask[n, k].item() == float(uniform[n, k] < p[classes[n]])
    ours = torch.autograd.grad((mask * upstream).sum(), (logits, matrix))

    # by hand: d keep[n, k] / d share[c, k] = [c == classes[n]]; d keep / d softmax = share
    share, soft = matrix.softmax(0), logits.softmax(1)
    one_hot = functional.one_hot(classes, 3).double()
    to_share = one_hot.T @ upstream
    to_soft = upstream @ share.T
    by_matrix = share * (to_share - (to_share * share).sum(0))
    by_logits = soft * (to_soft - (to_soft * soft).sum(1, keepdim=True))
    torch.testing.assert_close(ours[0], by_logits.detach())
    torch.testing.assert_close(ours[1], by_matrix.detach())


def test_only_images_whose_drawn_class_is_right_count(fit, take_step):
    fitted = fit("picnn", {"strength": 1.5}, epochs=0)
    method, head = fitted.method, fitted.network.backbone.head
    step = take_step(fitted)
    state = method.generator.get_state()
    term = method.penalty(step)["pathway"]
    method.generator.set_state(state)
    classes = draw_class(step.logits.softmax(1), method.generator)
    uniform = torch.rand(24, 16, generator=method.generator)
    share = method.matrix.softmax(0)
    losses = []
    for n, label in enumerate(step.labels.tolist()):
        if classes[n] == label:
            mask = (uniform[n] < share[label]).double()
            pooled = step.activations["conv6"][n].double().mean((1, 2)) * mask
            logits = head.weight.double() @ pooled + head.bias.double()
            losses.append(functional.cross_entropy(logits, torch.tensor(label)))
    assert 0 < len(losses) < 24
    torch.testing.assert_close(term.double(), 1.5 * sum(losses) / len(losses), rtol=1e-5, atol=1e-6)
    for weight in (method.matrix, fitted.network.backbone.conv1.weight):
        assert torch.autograd.grad(term, weight, retain_graph=True)[0].any()


def test_no_right_draw_adds_nothing(fit, take_step):
    fitted = fit("picnn", epochs=0)
    step = take_step(fitted)
    certain = torch.nn.functional.one_hot((step.labels + 1) % 3, 3).float() * 1e3
    object.__setattr__(step, "logits", certain.requires_grad_())
    term = fitted.method.penalty(step)["pathway"]
    assert term == 0
    term.backward()
    assert all(p.grad is None or not p.grad.any() for p in fitted.network.parameters())


def test_the_matrix_starts_nearly_uniform_and_sharpens(fit):
    start = fit("picnn", epochs=0).method.matrix.softmax(0)
    assert start.min() > 0.25 and start.max() < 0.45
    trained = fit("picnn", epochs=8)
    assert trained.method.matrix.softmax(0).amax(0).mean() > start.amax(0).mean() + 0.05
    groups = trained.method.partition(trained.network)["conv6"]
    assert torch.equal(groups, trained.method.matrix.argmax(0))


def test_laws(check_laws):
    check_laws("picnn")


def test_parameters_are_checked(fit):
    with pytest.raises(ValueError, match="matrix_lr"):
        PICNN(matrix_lr=0.0)
    with pytest.raises(ValueError, match="last Tap"):
        fit("picnn", {"taps": ["conv1"]}, epochs=0)
