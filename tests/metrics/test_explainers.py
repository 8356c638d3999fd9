"""Captum's algorithms: batches make no difference, and the audit finds what it must."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from planted_probes import make_probe, random_probe, scenes
from torch import nn
from torch.nn import functional

from legible.bench.backbones.taps import Network, Tap
from legible.methods.base import Method
from legible.metrics import explainers
from legible.metrics.explainers import (
    ALGORITHMS,
    HOOKED,
    Logits,
    Model,
    audit,
    audited,
    explain,
    explanations,
    graph_fault,
)


def small(activation: Sequence[nn.Module]) -> Network:
    """A small convolutional network with these activations after its two convolutions."""
    torch.manual_seed(0)
    modules = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), activation[0], Tap("first"), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), activation[1], Tap("second"),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    return Network(modules, list(modules), (3, 16, 16)).eval()


@pytest.fixture(scope="module")
def model() -> Model:
    network = small([nn.ReLU(), nn.ReLU()])
    return Model(Logits(network), network.taps["second"])


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


LABELS = torch.arange(6) % 4


@pytest.mark.parametrize("name", ALGORITHMS)
def test_batches_make_no_difference(name, model, images, monkeypatch):
    together = explain(name, model, images, LABELS)
    assert together.shape[-2:] == images.shape[-2:] and together.isfinite().all()
    monkeypatch.setattr(explainers, "BATCH", 1)
    torch.testing.assert_close(explain(name, model, images, LABELS), together, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_nothing_is_changed_and_nothing_left_behind(name, model, images):
    before, state = images.clone(), [p.clone() for p in model.logits.parameters()]
    generator = torch.get_rng_state()
    attributions = explain(name, model, images, LABELS)
    assert audit(name, model, images, LABELS, attributions) == ""
    assert (
        torch.equal(images, before) and not images.requires_grad and not attributions.requires_grad
    )
    assert all(torch.equal(a, b) for a, b in zip(state, model.logits.parameters(), strict=True))
    assert all(p.grad is None for p in model.logits.parameters())
    assert torch.equal(torch.get_rng_state(), generator)


def test_completeness_of_integrated_gradients_and_deep_lift(model, images):
    with torch.no_grad():
        due = model.logits(images) - model.logits(torch.zeros(1, 3, 16, 16))
    due = due.gather(1, LABELS[:, None])[:, 0]
    for name in explainers.COMPLETE:
        total = explain(name, model, images, LABELS).flatten(1).sum(1)
        torch.testing.assert_close(total, due, rtol=0.1, atol=0.01)


# ----------------------------------------------------------------- audit


def fault(name: str, network: Network, images: torch.Tensor) -> str:
    """The reason why an algorithm fails its audit on a network; "" if it passes."""
    model = Model(Logits(network), network.taps["second"])
    result = audited(name, model, images, LABELS)
    return result if isinstance(result, str) else ""


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_reused_relu_and_one_in_place_fail_what_redefines_it(name, images):
    shared = nn.ReLU()
    reused = fault(name, small([shared, shared]), images)
    in_place = fault(name, small([nn.ReLU(), nn.ReLU(inplace=True)]), images)
    if name in HOOKED:
        assert "more than once" in reused and "in place" in in_place
    else:
        assert "more than once" not in reused and "in place" not in in_place


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Straight(torch.autograd.Function):
    """ReLU with a straight-through gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class GeluInside(nn.ReLU):
    """A ReLU by name only."""

    def forward(self, x):
        return functional.gelu(x)


FUNCTIONS = {
    "F.relu": (functional.relu, "Relu"),
    "F.relu in place": (lambda x: functional.relu(x, inplace=True), "Relu"),
    "Tensor.relu": (torch.relu, "Relu"),
    "F.relu6": (functional.relu6, "Hardtanh"),
    "clamp": (lambda x: x.clamp(min=0), "Clamp"),
    "clamp_min": (lambda x: x.clamp_min(0), "ClampMin"),
    "maximum": (lambda x: torch.maximum(x, torch.zeros(1)), "Maximum"),
    "F.leaky_relu": (functional.leaky_relu, "LeakyRelu"),
    "F.gelu": (functional.gelu, "Gelu"),
    "F.silu": (functional.silu, "Silu"),
    "F.elu": (functional.elu, "Elu"),
    "own gelu": (lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2, "Erf"),
    "mask": (lambda x: x * (x > 0), "Mul"),
    "detached mask": (lambda x: x * (x.detach() > 0).float(), "Mul"),
    "where": (lambda x: torch.where(x > 0, x, 0.0), "Where"),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 0.0), "MaskedFill"),
    "autograd.Function": (Straight.apply, "Straight"),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_functional_activation_fails_what_replaces_gradients(name, function, images):
    call, operation = FUNCTIONS[function]
    reason = fault(name, small([nn.ReLU(), Call(call)]), images)
    if name in HOOKED:
        assert reason.startswith(f"{operation} runs outside of ") and "\n" not in reason
    elif function != "autograd.Function" or name not in explainers.COMPLETE:
        assert reason == ""


def test_guided_backpropagation_through_a_functional_relu_is_wrong(model, images):
    """The same network, with modules and with a function: only the first is guided."""
    functional_network = small([nn.ReLU(), Call(functional.relu)])
    other = Model(Logits(functional_network), functional_network.taps["second"])
    torch.testing.assert_close(other.logits(images), model.logits(images))
    maps = [explain("guided_gradcam", m, images, LABELS) for m in (model, other)]
    assert (maps[0] - maps[1]).abs().max() > 0.1 * maps[0].abs().max()
    assert fault("guided_gradcam", functional_network, images) == (
        "Relu runs outside of nn.ReLU modules: its gradient is not replaced"
    )


@pytest.mark.parametrize(
    ("module", "faulty"),
    [
        (nn.LeakyReLU(), {"guided_gradcam"}),  # DeepLift has a rule for it
        (nn.ELU(), {"guided_gradcam"}),
        (nn.Tanh(), {"guided_gradcam"}),
        (nn.GELU(), {"guided_gradcam", "deep_lift"}),
        (nn.SiLU(), {"guided_gradcam", "deep_lift"}),
        (nn.ReLU6(), {"guided_gradcam", "deep_lift"}),
        (GeluInside(), {"guided_gradcam", "deep_lift"}),
        (type("Named", (nn.ReLU,), {})(), {"deep_lift"}),  # Captum asks for the exact type
        (nn.Sequential(nn.ReLU(), Call(lambda x: functional.max_pool2d(x, 2))), {"deep_lift"}),
        (nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), set()),
        (nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Identity()), set()),
    ],
    ids=lambda value: "-".join(sorted(value)) if isinstance(value, set) else str(value)[:30],
)
def test_modules_that_an_algorithm_replaces_pass_and_others_fail(module, faulty, images):
    network = small([nn.ReLU(), module.eval()])
    assert {name for name in HOOKED if fault(name, network, images)} == faulty


@pytest.mark.parametrize("name", HOOKED)
def test_a_leaky_relu_in_place_or_reused(name, images):
    """The rules for ReLUs hold for every module whose gradient is replaced."""
    shared = nn.LeakyReLU()
    assert fault(name, small([nn.ReLU(), nn.LeakyReLU(inplace=True)]), images)
    assert fault(name, small([shared, shared]), images)


class Preactivation(nn.Module):
    """x + conv(relu(x)): Captum replaces the gradient of both branches."""

    def __init__(self, copies: bool) -> None:
        super().__init__()
        self.relu, self.conv, self.copies = nn.ReLU(), nn.Conv2d(8, 8, 1), copies

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(self.relu(x.clone() if self.copies else x))


@pytest.mark.parametrize("name", HOOKED)
def test_an_input_that_is_also_read_elsewhere_fails(name, images):
    networks = [small([nn.ReLU(), Preactivation(copies)]) for copies in (False, True)]
    networks[1].load_state_dict(networks[0].state_dict())
    maps = [explain(name, Model(Logits(n), n.taps["second"]), images, LABELS) for n in networks]
    assert (maps[0] - maps[1]).abs().max() > 0.01 * maps[1].abs().max()
    assert "is also read elsewhere" in fault(name, networks[0], images)
    assert fault(name, networks[1], images) == ""


def test_transforms_at_a_tap_are_examined(images):
    """A ReLU that a method exposes as a module of the Tap is seen, a functional one is a fault."""
    functional_network, exposed = (small([nn.ReLU(), nn.ReLU()]) for _ in range(2))
    functional_network.taps["second"].install(lambda x: (x - 0.1).relu())
    tap = exposed.taps["second"]
    relu = Method().expose(exposed, "second", nn.ReLU())
    tap.install(lambda x: relu(x - 0.1))
    assert relu in list(exposed.modules())
    for name in HOOKED:
        assert "Relu runs outside of" in graph_fault(name, Logits(functional_network), images)
        assert graph_fault(name, Logits(exposed), images) == ""


def test_guided_backpropagation_reaches_the_relu_of_a_transform(images):
    """A ReLU in the backbone or exposed in a transform gives the same maps, a function others."""
    inside, exposed, hidden = (small([nn.ReLU(), nn.ReLU()]) for _ in range(3))
    last = nn.ReLU()
    inside.taps["second"].point = nn.Sequential()  # a module of the network, before any transform
    inside.taps["second"].point.add_module("relu", last)
    inside.taps["second"].point.forward = lambda x: x + 2 * last(0.5 - x)
    relu = Method().expose(exposed, "second", nn.ReLU())
    exposed.taps["second"].install(lambda x: x + 2 * relu(0.5 - x))
    hidden.taps["second"].install(lambda x: x + 2 * (0.5 - x).relu())
    models = [Model(Logits(n), n.taps["first"]) for n in (inside, exposed, hidden)]
    first, same, other = (explain("guided_gradcam", m, images, LABELS) for m in models)
    torch.testing.assert_close(first, same)
    assert (first - other).abs().max() > 0.01 * first.abs().max()


def test_operations_that_do_not_read_the_image_are_no_fault(images):
    """A network that rectifies a parameter, or does not depend on the image at all."""
    gate = nn.Parameter(torch.randn(8, 1, 1))
    network = small([nn.ReLU(), nn.Sequential(nn.ReLU(), Call(lambda x: x * gate.relu()))])
    constant = small([nn.ReLU(), nn.Sequential(nn.ReLU(), Call(lambda x: x.detach()))])
    for name in HOOKED:
        assert fault(name, network, images) == ""
        assert graph_fault(name, Logits(constant), images) == ""


@pytest.mark.parametrize(
    "broken, reason",
    [
        (lambda model, x, y: x * float("nan"), "not finite"),
        (lambda model, x, y: x[:0], "missing"),
        (lambda model, x, y: x - x.mean(0), "batch"),
        (lambda model, x, y: x / x.abs().max(), "batch"),  # the largest map does not show it
        (lambda model, x, y: x[:1].expand_as(x), "batch"),  # the first image does not show it
        (lambda model, x, y: x.flip(0), "batch"),
        (lambda model, x, y: x.mul_(2), "input"),
        (lambda model, x, y: 10 * x, "of the answer"),
        (
            lambda model, x, y: (model.logits.register_forward_hook(lambda *_: None), x)[1],
            "hooks",
        ),
    ],
)
def test_a_faulty_algorithm_fails_its_audit(broken, reason, images, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "integrated_gradients", broken)
    network = small([nn.ReLU(), nn.ReLU()])
    model = Model(Logits(network), network.taps["second"])
    attributions = explain("integrated_gradients", model, images, LABELS)
    assert reason in audit("integrated_gradients", model, images, LABELS, attributions)


@pytest.mark.parametrize(
    "sample",
    [
        lambda images: images[:1].expand(6, -1, -1, -1).clone(),  # all alike
        lambda images: torch.zeros_like(images),  # all maps empty
        lambda images: torch.cat([torch.zeros_like(images[:5]), images[:1]]),  # all but one
    ],
)
@pytest.mark.parametrize(
    "broken",
    [
        lambda x: x / x.abs().max().clamp(min=1e-9),
        lambda x: x - x.mean(0),
        lambda x: x[:1].expand_as(x),
    ],
)
def test_dependence_on_the_batch_shows_on_any_sample(broken, sample, model, images, monkeypatch):
    """Empty maps, and images that are all alike, would hide it."""
    monkeypatch.setitem(ALGORITHMS, "saliency", lambda model, x, y: broken(x))
    assert audited("saliency", model, sample(images), LABELS) == (
        "an image's attribution depends on its batch"
    )


@pytest.mark.parametrize("sample", ["alike", "blank"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_sound_algorithms_pass_on_any_sample(name, sample, model, images):
    alike = images[:1].expand(6, -1, -1, -1).clone() * (sample == "alike")
    assert not isinstance(audited(name, model, alike, LABELS), str)


# ----------------------------------------------------------------- algorithms that raise


def raises(model, x, y):
    model.logits.register_forward_hook(lambda *_: None)
    model.logits.network.leftover = x
    raise RuntimeError("first line\nsecond line " + 1000 * "x")


def test_an_algorithm_that_raises_fails_alone(monkeypatch):
    """It comes first, so that a hook left behind would reach all others."""
    _, probe = random_probe()
    sound = explanations(probe).attributions
    monkeypatch.setitem(ALGORITHMS, "saliency", raises)
    _, probe = random_probe()
    sample = explanations(probe)
    assert set(sample.faults) == {"saliency"}
    reason = sample.faults["saliency"]
    assert reason.startswith("raises RuntimeError: first line second line") and len(reason) < 230
    assert set(sample.attributions) == set(ALGORITHMS) - {"saliency"}
    assert all(torch.equal(maps, sound[name]) for name, maps in sample.attributions.items())
    assert not sample.model.logits._forward_hooks and not hasattr(probe.network, "leftover")


def test_an_algorithm_that_raises_only_in_the_audit_fails(model, images, monkeypatch):
    def refuses_one(model, x, y):
        if len(x) == 1:
            raise ValueError("needs a batch")
        return x

    monkeypatch.setitem(ALGORITHMS, "saliency", refuses_one)
    reason = audited("saliency", model, images, LABELS)
    assert reason == "raises ValueError: needs a batch"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("full"), RuntimeError("can't allocate memory")],
)
def test_a_fault_of_the_machine_is_none_of_the_algorithm(error, model, images, monkeypatch):
    def fails(model, x, y):
        raise error

    monkeypatch.setitem(ALGORITHMS, "saliency", fails)
    with pytest.raises(type(error)):
        audited("saliency", model, images, LABELS)


@pytest.mark.parametrize("kind", ["reused", "in place"])
def test_a_network_that_deep_lift_refuses_keeps_its_other_algorithms(kind, images):
    shared = nn.ReLU(inplace=kind == "in place")
    network = small([shared, shared])
    model = Model(Logits(network), network.taps["second"])
    results = {name: audited(name, model, images, LABELS) for name in ALGORITHMS}
    assert {name for name, result in results.items() if isinstance(result, str)} == set(HOOKED)
    assert not hasattr(shared, "input") and not shared._forward_hooks


def test_a_network_without_maps_has_no_gradcam():
    _, probe = make_probe(torch.rand(20, 5), torch.arange(20) % 2)
    sample = explanations(probe)
    assert sample.faults == dict.fromkeys(explainers.MAPPED, "no Tap has a map")
    assert set(sample.attributions) == set(ALGORITHMS) - explainers.MAPPED


# ----------------------------------------------------------------- the sample


def test_the_sample_shows_its_evidence():
    _, probe = scenes()
    sample = explanations(probe)
    assert len(sample.images) == explainers.SAMPLE and sample.evidence is not None
    assert sample.evidence.flatten(1).any(1).all()
    row = (probe.images == sample.images[0]).flatten(1).all(1).nonzero()[0, 0]
    mask = probe.concepts.masks(row[None])[0, probe.labels[row]]
    assert torch.equal(sample.evidence[0], mask)


def test_without_concepts_that_define_classes_there_is_no_evidence():
    _, probe = random_probe()
    assert explanations(probe).evidence is None
