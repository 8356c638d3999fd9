"""Whitening, the Cayley step and the concept directions on fixed tensors, and the laws."""

import pytest
import torch

from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.vgg import vgg
from legible.bench.data.base import Dataset, make_splits
from legible.bench.training.checkpoint import State
from legible.bench.training.fit import build_network, fit_network
from legible.bench.training.recipe import Recipe
from legible.methods.base import unmet
from legible.methods.concept_whitening import (
    ConceptWhitening,
    Whitening,
    cayley_step,
    concept_direction,
    inverse_root,
    presence,
    select_concepts,
)
from legible.metrics.network import Concepts


@pytest.fixture(scope="module")
def shapes() -> Dataset:
    """48 noisy images with bright corners; each corner is a concept, the first three a class."""
    generator = torch.Generator().manual_seed(0)
    names = ("nw", "ne", "sw", "se", "frame")
    parts = {}
    for split, count in (("train", 48), ("validation", 24), ("test", 24)):
        images = torch.randint(0, 100, (count, 1, 16, 16), generator=generator)
        masks = torch.zeros(count, 5, 16, 16, dtype=torch.bool)
        labels = torch.arange(count) % 3
        present = torch.rand(count, 4, generator=generator) < 0.3
        present[torch.arange(count), labels] = True
        for k in range(4):
            y, x = 8 * (k // 2) + 2, 8 * (k % 2) + 2
            masks[present[:, k], k, y : y + 4, x : x + 4] = True
        masks[:, 4, 0] = True
        images += 120 * masks[:, :4].any(1, keepdim=True)
        concepts = Concepts.pack(masks, names, ["corner"] * 5, [True] * 5, (0, 1, 2))
        parts[split] = (images.to(torch.uint8), labels, concepts)
    return Dataset("shapes", ("a", "b", "c"), **make_splits(parts, 3), shift=1)


def run(data, params=None, epochs=2, name=ConceptWhitening, build=None, **kwargs):
    recipe = {"batch": 16, "lr": 3e-3, **kwargs.pop("recipe", {})}
    build = build or (lambda: vgg(data.image, 3, width=4))
    method = name(**(params or {}))
    network = build_network(build, method, data.train, 0)
    state = fit_network(network, method, data, Recipe(epochs=epochs, **recipe), 0, **kwargs)
    return network, method, state


def ill_conditioned(units, power, dtype=torch.float32):
    """A covariance with eigenvalues i^-power in random directions."""
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(units, units, generator=generator, dtype=torch.float64))
    values = torch.arange(1, units + 1, dtype=torch.float64) ** -power
    return ((q * values) @ q.T).to(dtype)


# ------------------------------------------------------------------ whitening


def test_inverse_root_is_that_of_the_eigenvalues():
    for form, power, iterations in (("coupled", 1.5, 30), ("official", 0.3, 12)):
        covariance = ill_conditioned(24, power, torch.float64)
        values, axes = torch.linalg.eigh(covariance)
        expected = (axes * values.rsqrt()) @ axes.T
        root = inverse_root(covariance, iterations, form)
        torch.testing.assert_close(root, expected, rtol=1e-6, atol=1e-6)


def test_the_stable_iteration_whitens_in_float32_where_the_codes_explodes():
    """Eigenvalues i^-1.5 of 64 channels: the code's case of T = 10."""
    covariance = ill_conditioned(64, 1.5)
    eye = torch.eye(64)
    stable = inverse_root(covariance, 20)
    torch.testing.assert_close(stable @ covariance @ stable, eye, atol=1e-3, rtol=0)
    official = inverse_root(covariance, 12, "official")
    assert not (official @ covariance @ official - eye).abs().max() < 10


@pytest.mark.parametrize(("form", "iterations"), [("coupled", 12), ("official", 5)])
def test_gradient_through_the_layer_matches_finite_differences(form, iterations):
    generator = torch.Generator().manual_seed(1)
    layer = Whitening(torch.nn.BatchNorm2d(3), 3, 1.0, iterations, form, 0.05).double()
    x = torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))


def test_outputs_are_white_then_rotated_and_evaluation_uses_running_values():
    generator = torch.Generator().manual_seed(2)
    layer = Whitening(torch.nn.BatchNorm2d(8), 8, 1.0, 25, "coupled", 0.5)
    mix = torch.randn(8, 8, generator=generator)
    x = torch.einsum("dc,bchw->bdhw", mix, torch.randn(64, 8, 5, 5, generator=generator)) + 3
    q, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator))
    layer.rotation.copy_(q)
    for _ in range(12):
        out = layer(x).detach()
    samples = out.movedim(1, 0).flatten(1)
    torch.testing.assert_close(samples.mean(1), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(samples.cov(correction=0), torch.eye(8), atol=1e-3, rtol=0)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    layer.eval()
    torch.testing.assert_close(layer(x).detach(), out, atol=2e-2, rtol=0)
    white = torch.einsum("dc,bchw->bdhw", q, layer.whitened(x))
    torch.testing.assert_close(layer(x).detach(), white, atol=1e-4, rtol=0)
    assert all(torch.equal(v, before[k]) for k, v in layer.state_dict().items())


def test_running_values_and_the_covariances_epsilon():
    """A unit that never varies has variance eps; running values go a twentieth of the way."""
    layer = Whitening(torch.nn.BatchNorm2d(2), 2, 1.0, 30, "coupled", 0.05).double()
    x = torch.full((2, 2, 1, 1), 3.0, dtype=torch.float64)
    x[:, 0, 0, 0] = torch.tensor([1.0, 5.0])  # mean 3, variance 4
    layer(x)
    white = torch.tensor([4 + 1e-5, 1e-5], dtype=torch.float64).rsqrt().diag()
    torch.testing.assert_close(layer.mean, torch.full_like(layer.mean, 0.05 * 3))
    torch.testing.assert_close(layer.whitening, 0.95 * torch.eye(2).double() + 0.05 * white)


# ------------------------------------------------------------------ rotation


def test_a_cayley_step_keeps_orthogonality_and_descends():
    generator = torch.Generator().manual_seed(3)
    rotation, _ = torch.linalg.qr(torch.randn(9, 9, generator=generator))
    gradient = torch.zeros(9, 9)
    gradient[:3] = torch.randn(3, 9, generator=generator)
    start = (gradient * rotation).sum()
    stepped = cayley_step(rotation, gradient)
    torch.testing.assert_close(stepped @ stepped.T, torch.eye(9), atol=1e-5, rtol=0)
    assert (gradient * stepped).sum() < start - 0.1


def test_the_step_meets_armijo_and_wolfe():
    """On two axes the curve is a rotation by 2 atan(t a / 2), and the objective a cosine."""
    rotation, gradient = torch.eye(2), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    stepped = cayley_step(rotation, gradient).double()
    angle = torch.atan2(stepped[0, 1], stepped[0, 0])  # <G, R> = 2 sin(angle), a = 2
    t = (angle.abs() / 2).tan()  # t a / 2 = t
    slope, value = -4.0, 2 * angle.sin()
    derivative = 2 * angle.cos() * (-2 / (1 + t**2))
    assert value <= 1e-4 * t * slope + 1e-6
    assert derivative >= 0.9 * slope - 1e-6


def slow_cayley_step(r, g):
    """The bisection from 1000: too far where Armijo fails, too near where Wolfe does."""
    a, eye = g @ r.T - r @ g.T, torch.eye(len(r), dtype=torch.float64)

    def on_curve(t):
        return torch.linalg.solve(eye + t / 2 * a, (eye - t / 2 * a) @ r)

    def value_and_slope(t):
        t = torch.tensor(t, dtype=torch.float64, requires_grad=True)
        value = (g * on_curve(t)).sum()
        return value.item(), torch.autograd.grad(value, t)[0].item()

    start, slope = value_and_slope(0.0)
    t, low, high = 1000.0, 0.0, 1e8
    for _ in range(40):
        value, here = value_and_slope(t)
        if value > start + 1e-4 * t * slope:
            high = t
        elif here < 0.9 * slope:
            low = t
        else:
            break
        t = (low + high) / 2
    return on_curve(t)


@pytest.mark.parametrize("scale", [1e-6, 3e-4, 1e-3, 0.01, 1.0, 10.0])
def test_the_step_is_that_of_the_bisection_written_out(scale):
    generator = torch.Generator().manual_seed(7)
    r = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))[0]
    g = scale * torch.randn(5, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(cayley_step(r, g), slow_cayley_step(r, g), rtol=1e-6, atol=1e-8)


def test_rotate_moves_the_gradient_a_twentieth_and_takes_two_steps(shapes):
    network, method, _ = run(shapes, {"concepts": ["ne", "sw"], "every": 10**6}, epochs=1)
    layer = network.taps["conv6"].norm
    before, gradient = layer.rotation.clone(), method.gradient.clone()
    method.rotate(network)
    with torch.no_grad():
        maps = layer.whitened(method.inputs(network, layer)).unflatten(0, (2, method.images))
    gradient[:2] = 0.95 * gradient[:2] - 0.05 * concept_direction(maps, before)
    torch.testing.assert_close(method.gradient, gradient)
    once = cayley_step(before, gradient)
    torch.testing.assert_close(layer.rotation, cayley_step(once, gradient))
    assert not torch.allclose(layer.rotation, once, atol=1e-3)


def test_it_rotates_every_few_steps_of_an_epoch(shapes, monkeypatch):
    steps = []
    monkeypatch.setattr(ConceptWhitening, "rotate", lambda self, network: steps.append(self.steps))
    run(shapes, {"concepts": ["se"], "every": 2}, epochs=2)  # of three steps each
    assert steps == [0, 2, 0, 2]


def test_a_zero_gradient_leaves_the_rotation():
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(4)))[0]
    torch.testing.assert_close(cayley_step(rotation, torch.zeros(5, 5)), rotation)


def test_repeated_steps_rotate_axes_to_the_concepts():
    q, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(5)))
    rotation, gradient = torch.eye(6), torch.zeros(6, 6)
    gradient[:2] = -q[:2]
    for _ in range(60):
        rotation = cayley_step(rotation, gradient)
    torch.testing.assert_close(rotation[:2], q[:2], atol=1e-2, rtol=0)


# ------------------------------------------------------------------ directions


def slow_direction(whitened, rotation, activation, selection):
    """Window by window, concept by concept."""
    concepts, images, units, height, width = whitened.shape
    out = torch.zeros(concepts, units, dtype=whitened.dtype)
    windows = [((0, height), (0, width))]
    if activation == "pool_max":
        windows = [
            ((y, y + 3), (x, x + 3))
            for y in range(0, height - 2, 3)
            for x in range(0, width - 2, 3)
        ]
    for j in range(concepts):
        for m in range(images):
            z = whitened[j, m]
            axes = (rotation @ z.flatten(1)).view_as(z)
            for c in range(units):
                axis = axes[c if selection == "official" else j]
                values = []
                for (y0, y1), (x0, x1) in windows:
                    if activation == "mean":
                        values += z[c].flatten().tolist()
                    else:
                        best = axis[y0:y1, x0:x1].flatten().argmax().item()
                        values.append(z[c, y0:y1, x0:x1].flatten()[best].item())
                out[j, c] += sum(values) / len(values) / images
    return out


@pytest.mark.parametrize("selection", ["own", "official"])
@pytest.mark.parametrize("activation", ["pool_max", "max", "mean"])
def test_direction(activation, selection):
    generator = torch.Generator().manual_seed(6)
    whitened = torch.randn(2, 3, 4, 7, 8, generator=generator, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    ours = concept_direction(whitened, rotation, activation, selection)
    expected = slow_direction(whitened, rotation, activation, selection)
    torch.testing.assert_close(ours, expected)


def test_the_codes_selection_differs_and_is_not_the_activations_gradient():
    """d (mean over positions where axis j peaks of R_j z) / d R_j is the mean of z there."""
    generator = torch.Generator().manual_seed(7)
    whitened = torch.randn(1, 3, 4, 6, 6, generator=generator, dtype=torch.float64)
    rotation = torch.eye(4, dtype=torch.float64).requires_grad_()
    axis = torch.einsum("c,mchw->mhw", rotation[0], whitened[0])
    pooled = torch.nn.functional.max_pool2d(axis[:, None], 3, 3).mean()
    gradient = torch.autograd.grad(pooled, rotation)[0][0]
    own, official = (
        concept_direction(whitened, rotation.detach(), "pool_max", s)[0]
        for s in ("own", "official")
    )
    torch.testing.assert_close(own, gradient)
    assert (official - own).abs().max() > 0.1


# ------------------------------------------------------------------ the method


def test_concepts_are_named_or_a_share_of_those_that_vary(shapes):
    concepts = shapes.train.concepts
    assert torch.equal(presence(concepts), concepts.masks().flatten(2).any(2))
    half = select_concepts(concepts, 0.5, 16)
    assert len(half) == 2 and 4 not in half, "'frame' is in every image"
    assert select_concepts(concepts, 1.0, 16) == [0, 1, 2, 3]
    assert len(select_concepts(concepts, 1.0, 3)) == 3
    assert select_concepts(concepts, ["se", "nw"], 16) == [3, 0]
    with pytest.raises(ValueError, match="did you mean 'frame'"):
        select_concepts(concepts, ["fram"], 16)


def test_the_share_of_concepts_does_not_depend_on_their_order(shapes):
    concepts = shapes.train.concepts
    turned = concepts.select([4, 3, 2, 1, 0])
    names = [{c.names[k] for k in select_concepts(c, 0.5, 16)} for c in (concepts, turned)]
    assert names[0] == names[1]
    smaller = {concepts.names[k] for k in select_concepts(concepts, 0.25, 16)}
    assert smaller < names[0], "a larger share holds the smaller one"


def test_axes_learn_the_concepts_and_used_concepts_names_them(shapes):
    """Of all axes, the first detects a concept best that no class needs."""
    network, method, _ = run(shapes, {"concepts": ["se"], "every": 1}, epochs=10)
    assert method.used_concepts() == ("se",)
    layer = network.taps["conv6"].norm
    torch.testing.assert_close(layer.rotation @ layer.rotation.T, torch.eye(16), atol=1e-4, rtol=0)
    outputs = []
    handle = layer.register_forward_hook(lambda module, args, out: outputs.append(out.detach()))
    network(shapes.train.normalise(shapes.train.images))
    handle.remove()
    axes = torch.nn.functional.max_pool2d(outputs[0], 3, 3).mean((2, 3))
    positive = presence(shapes.train.concepts)[:, 3]
    area = (axes[positive][:, None] > axes[~positive]).float().mean((0, 1))
    assert area[0] > 0.8 and area[0] > area[1:].max() - 0.02


def test_concept_images_show_their_concept(shapes):
    _, method, _ = run(shapes, {"concepts": ["ne", "sw"], "images": 5}, epochs=1)
    every = shapes.train.normalise(shapes.train.images)
    present = presence(shapes.train.concepts)
    for j, k in enumerate((1, 2)):
        for image in method.concept_images[j]:
            rows = (every == image).flatten(1).all(1)
            assert rows.any() and present[rows, k].all()


def test_whitening_alone_needs_no_concepts(toy, shapes):
    network, method, _ = run(toy, {"concepts": 0.0})
    assert method.used_concepts() == ()
    layer = network.taps["conv6"].norm
    assert torch.equal(layer.rotation, torch.eye(16))
    assert unmet(method, network, toy.train) == ""
    assert unmet(ConceptWhitening, network, toy.train) == "needs concept masks"
    with pytest.raises(ValueError, match="concept masks"):
        run(toy, {}, epochs=0)


def test_the_last_tap_with_a_norm_of_its_own_is_taken(shapes):
    build = lambda: resnet18(shapes.image, 3, width=4, stages=1)  # noqa: E731
    network, method, _ = run(shapes, epochs=1, build=build)
    assert method.taps == ["layer1.1.inner"]
    assert isinstance(network.backbone.layer1[1].bn1, Whitening)


def plain_names(state):
    prefix = "network.backbone.norm6."
    return {k.replace(prefix + "norm.", prefix): v for k, v in state.tensors.items()}


def test_strength_zero_is_plain_up_to_the_replaced_norms_name(shapes):
    from legible.methods.plain import Plain

    plain = run(shapes, name=Plain)[2].tensors
    weights = [k for k in plain if k.startswith("network.")]
    none = plain_names(run(shapes, {"strength": 0.0, "every": 1})[2])
    assert [k for k in weights if not torch.equal(plain[k], none[k])] == []
    little = plain_names(run(shapes, {"strength": 1e-8, "every": 1})[2])
    for k in weights:
        torch.testing.assert_close(little[k], plain[k], atol=1e-3, rtol=1e-3)


def test_resume_equals_the_uninterrupted_run(shapes):
    states: list[State] = []
    whole = run(shapes, {"every": 2}, epochs=3, after_epoch=states.append)[2]
    resumed = run(shapes, {"every": 2}, epochs=3, resume=states[0])[2]
    assert all(v.isfinite().all() for v in whole.tensors.values() if v.is_floating_point())
    assert [k for k in whole.tensors if not torch.equal(whole.tensors[k], resumed.tensors[k])] == []


def test_bf16_trains(shapes):
    state = run(shapes, recipe={"precision": "bf16"})[2]
    assert all(v.isfinite().all() for v in state.tensors.values() if v.is_floating_point())


def test_parameters_are_checked(shapes):
    for params, word in (({"concepts": 2.0}, "concepts"), ({"every": 0}, "every")):
        with pytest.raises(ValueError, match=word):
            ConceptWhitening(**params)
    with pytest.raises(ValueError, match="exactly one Tap"):
        run(shapes, {"taps": ["conv1", "conv2"]}, epochs=0)
