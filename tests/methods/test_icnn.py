"""ICNN's template and injected gradient against the MATLAB code's formulas, slow and in float64."""

import pytest
import torch
from torch.nn import functional

from legible.methods.icnn import (
    ICNN,
    Template,
    apply_mask,
    beta_target,
    filter_gradient,
    log_mean_exp,
    template,
    update_peaks,
)

LABELS = torch.tensor([0, 2, 1, 0, 2, 1, 1])
OWN = torch.tensor([2, 0, 1, 1])
DENSITY = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def maps(seed=0, images=7, units=4, height=5, width=5, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    shape = (images, units, height, width)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64).relu()


def positions(height, width):
    """Row and column of every position, from 1 as in MATLAB."""
    return [(i, j) for i in range(1, height + 1) for j in range(1, width + 1)]


def slow_centre(x):
    """getMu of one map: the rounded centroid, at least 1, and the map's mean squared distance."""
    total = max(x.sum().item(), 1e-9)
    mass = {(i, j): x[i - 1, j - 1].item() / total for i, j in positions(*x.shape)}
    y, x = (max(round(sum(p[axis] * m for p, m in mass.items())), 1) for axis in (0, 1))
    return (y, x), sum(((i - y) ** 2 + (j - x) ** 2) * m for (i, j), m in mass.items())


def slow_template(x, beta):
    """getMu and getMask of every map, position by position."""
    images, units, height, width = x.shape
    mask, spread = torch.empty_like(x), torch.empty(images, units, dtype=x.dtype)
    rows, columns = (torch.linspace(-1, 1, n, dtype=x.dtype) for n in (height, width))
    for n in range(images):
        for f in range(units):
            (mu_y, mu_x), squared = slow_centre(x[n, f])
            spread[n, f] = squared**0.5
            for i, j in positions(height, width):
                away = abs(rows[i - 1] - rows[mu_y - 1]) + abs(columns[j - 1] - columns[mu_x - 1])
                mask[n, f, i - 1, j - 1] = max(1 - beta[f] * away, -1)
    return mask, spread


def slow_gradient(x, mask, labels, own, density):
    """The backward pass of a conv_mask layer, without the class loss and the factor 1e-5 mag/t."""
    images, units = x.shape[:2]
    out = torch.zeros_like(x)
    strength = (x * mask).mean((2, 3)).T
    flipped = torch.empty_like(mask)
    for n in range(images):
        for f in range(units):
            flipped[n, f] = mask[images - 1 - n, units - 1 - f]
    log_pos = ((x * flipped).mean((2, 3)) / 0.5).exp().mean(0).log() * 0.5
    log_neg = ((-x).mean((2, 3)) / 0.5).exp().mean(0).log() * 0.5
    for f in range(units):
        c = int(own[f])
        yes = [n for n in range(images) if labels[n] == c]
        no = [n for n in range(images) if labels[n] != c]
        for members, log_z, score, weight in (
            (yes, log_pos[f], strength[f], 0.5 / density[c]),
            (no, log_neg[f], -x.mean((2, 3)).T[f], 0.5 / (1 - density[c])),
        ):
            if not members:
                continue
            q = {n: (score[n] / 0.5).exp() * (score[n] - log_z + 0.5) for n in members}
            mean = sum(q.values()) / len(members)
            for n in members:
                pattern = -mask[n, f] if members is yes else torch.ones_like(mask[n, f])
                out[n, f] += pattern * q[n] / mean * weight
    return out


@pytest.mark.parametrize(("height", "width"), [(5, 5), (4, 7)])
def test_template(height, width):
    x = maps(height=height, width=width)
    x[2, 1] = 0  # a silent map
    beta = torch.tensor([1.5, 2.0, 2.5, 3.0], dtype=torch.float64)
    shape = template(x, beta)
    mask, spread = slow_template(x, beta)
    torch.testing.assert_close(shape.mask, mask)
    torch.testing.assert_close(shape.spread, spread)
    assert shape.mask.amax((2, 3)).eq(1).all() and shape.mask.min() >= -1


def test_template_at_the_largest_cell():
    x = maps()
    shape = template(x, torch.full((4,), 2.0, dtype=torch.float64), centre="argmax")
    assert torch.equal(shape.mask.flatten(2).argmax(2), x.flatten(2).argmax(2))


def test_masking_passes_gradient_where_the_mask_is_positive():
    x = maps().requires_grad_()
    mask = template(x.detach(), torch.full((4,), 2.0, dtype=torch.float64)).mask
    torch.testing.assert_close(apply_mask(x, mask), (x * mask).relu())
    apply_mask(x, mask).sum().backward()
    assert torch.equal(x.grad, mask.clamp(min=0))


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_injected_gradient_for_several_classes(scale):
    x = maps(scale=scale)
    mask = template(x, torch.full((4,), 2.0, dtype=torch.float64)).mask
    ours = filter_gradient(x, mask, LABELS[:, None] == OWN, DENSITY[OWN])
    expected = slow_gradient(x, mask, LABELS, OWN, DENSITY)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


def test_an_image_of_a_filters_class_is_no_negative_of_it():
    """The port lists every image as a negative of every filter as soon as classes are several."""
    x = maps()
    mask = template(x, torch.full((4,), 2.0, dtype=torch.float64)).mask
    positive = LABELS[:, None] == OWN
    gradient = filter_gradient(x, mask, positive, DENSITY[OWN])
    for n in range(7):
        for f in range(4):
            flat = gradient[n, f].max() - gradient[n, f].min() < 1e-12
            assert flat == (not positive[n, f]), "negatives are pushed evenly, positives are not"


def test_a_class_that_is_not_in_the_batch_and_batches_of_one_class():
    x = maps()
    mask = template(x, torch.full((4,), 2.0, dtype=torch.float64)).mask
    for positive in (torch.zeros(7, 4).bool(), torch.ones(7, 4).bool()):
        gradient = filter_gradient(x, mask, positive, DENSITY[OWN])
        assert gradient.isfinite().all() and gradient.any()


def test_large_and_silent_maps_give_finite_gradients():
    """The code's exp(S / 0.5) is infinite here."""
    positive = LABELS[:, None] == OWN
    for x in (1e4 * maps().float(), torch.zeros(7, 4, 5, 5)):
        mask = template(x, torch.full((4,), 2.0)).mask
        gradient = filter_gradient(x, mask, positive, DENSITY[OWN].float())
        assert gradient.isfinite().all()
    assert ((1e4 * maps()).mean((2, 3)) / 0.5).float().exp().isinf().any()
    score = torch.tensor([[1.0], [2.0]])
    expected = 0.5 * ((torch.tensor(2.0).exp() + torch.tensor(4.0).exp()) / 2).log()
    torch.testing.assert_close(log_mean_exp(score)[0], expected)


def test_beta_target_by_the_codes_sum():
    x = maps()
    beta = torch.full((4,), 2.0, dtype=torch.float64)
    shape = template(x, beta)
    positive = LABELS[:, None] == OWN
    target = beta_target(x, shape, positive, beta)
    for f in range(4):
        yes = positive[:, f]
        s = (x * shape.mask).mean((2, 3))[yes, f]
        mean = (s * shape.spread[yes, f]).sum() / s.sum()
        torch.testing.assert_close(target[f], (3 / mean).clamp(1.5, 3.0))
    assert target.unique().numel() > 1, "not all clipped"
    narrow = Template(shape.mask, 0.5 * torch.ones_like(shape.spread))  # 3 / 0.5 is above 3
    assert (beta_target(x, narrow, positive, beta) == 3.0).all()
    wide = Template(shape.mask, 9 * torch.ones_like(shape.spread))
    assert (beta_target(x, wide, positive, beta) == 1.5).all()
    assert torch.equal(beta_target(x, shape, torch.zeros(7, 4).bool(), beta), beta)
    silent = Template(shape.mask, torch.zeros(7, 4, dtype=torch.float64))
    assert (beta_target(x, silent, positive, beta) == 3.0).all()


def test_running_peaks():
    x = maps()
    start = torch.zeros(4, 4, dtype=torch.float64)
    first = update_peaks(start, x, LABELS)  # class 3 is not there
    for c in range(3):
        mean = x[c == LABELS].amax((2, 3)).mean(0)
        torch.testing.assert_close(first[:, c], mean.clamp(min=0.1))
    assert not first[:, 3].any()
    faint = update_peaks(start, 1e-3 * x, LABELS)  # what is hardly there starts at 0.1
    assert (faint[:, :3] == 0.1).all()
    again = update_peaks(first, 0 * x, LABELS)
    torch.testing.assert_close(again, 0.9 * first)


def test_the_layer_is_mask_convolution_mask(fit, take_step):
    fitted = fit("icnn", epochs=1)
    step, method = take_step(fitted), fitted.method
    x = step.activations["conv6"].detach().double()
    mask, _ = slow_template(x, method.lower_beta0.double())
    above = functional.conv2d(
        (x * mask).relu(), method.kernel0.double(), method.bias0.double(), padding=1
    ).relu()
    mask, _ = slow_template(above.detach(), method.upper_beta0.double())
    expected = (above * mask).relu()
    torch.testing.assert_close(step.transformed["conv6"].double(), expected, rtol=1e-4, atol=1e-5)


def test_penalty_injects_the_gradient_over_the_batch_and_the_epoch(fit, take_step):
    fitted = fit("icnn", {"strength": 0.5, "loss": 0.3, "beta_rate": 0.0}, epochs=1)
    method, step = fitted.method, take_step(fitted, epoch=3)
    x = step.activations["conv6"]
    terms = method.penalty(step)
    own = method.lower_peaks0.argmax(1)
    mask, _ = slow_template(x.detach().double(), method.lower_beta0.double())
    density = torch.full((3,), 1 / 3, dtype=torch.float64)
    expected = slow_gradient(x.detach().double(), mask, step.labels, own, density)
    ours = torch.autograd.grad(terms["lower"], x, retain_graph=True)[0]
    torch.testing.assert_close(ours.double(), 0.5 * 0.3 / 4 / 24 * expected, rtol=1e-3, atol=1e-7)
    grads = torch.autograd.grad(terms["upper"], (x, method.kernel0))
    assert all(g.any() for g in grads), "the upper layer's loss trains what is below it"


def test_forward_and_backward_do_not_update_statistics_at_evaluation(fit, toy):
    fitted = fit("icnn", epochs=1)
    before = {k: v.clone() for k, v in fitted.method.state_dict().items()}
    fitted.network(toy.test.normalise(toy.test.images))
    assert all(torch.equal(v, before[k]) for k, v in fitted.method.state_dict().items())


def test_beta_moves_towards_its_target_and_classes_are_assigned(fit):
    fitted = fit("icnn", {"beta_rate": 0.2}, epochs=4)
    method = fitted.method
    assert ((method.lower_beta0 >= 1.5) & (method.lower_beta0 <= 3)).all()
    assert not torch.equal(method.lower_beta0, torch.full((16,), 2.0))
    classes = method.partition(fitted.network)["conv6"]
    assert torch.equal(classes, method.lower_peaks0.argmax(1))
    fixed = fit("icnn", {"beta_rate": 0.0}, epochs=2).method
    assert torch.equal(fixed.upper_beta0, torch.full((16,), 2.0))
    assert fit("icnn", epochs=0).method.partition(fitted.network)["conv6"].eq(-1).all()


@pytest.mark.parametrize("params", [{}, {"loss": 0.0}, {"centre": "argmax"}])
def test_laws(check_laws, params):
    check_laws("icnn", params)


def test_bf16_trains(fit):
    state = fit("icnn", precision="bf16").state
    assert all(v.isfinite().all() for v in state.tensors.values())


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="loss"):
        ICNN(loss=-1.0)
    with pytest.raises(ValueError, match="beta_rate"):
        ICNN(beta_rate=2.0)
