"""Laws on how a method trains: it starts from plain, repeats itself, and leads somewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from legible.bench.check.law import Broken, Skip, law
from legible.bench.check.subject import MethodSubject, Trained, furthest, plain, watched
from legible.bench.check.toy import NETWORKS, RECIPE, toy_data
from legible.bench.errors import nearest
from legible.bench.execution.store import Run
from legible.bench.training.checkpoint import State
from legible.bench.training.loop import Diverged
from legible.methods.base import Method, Step

SGD = RECIPE.model_copy(update={"optimizer": "sgd", "lr": 0.05})


@law("methods", "registers", "declarations_hold", "parameters_are_checked")
def attaches(subject: MethodSubject) -> str:
    """attach works, and keeps none of the network's modules (they would be optimised twice)."""
    network, method, _ = subject.build()
    own = {id(p): name for name, p in (*method.named_parameters(), *method.named_buffers())}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if id(tensor) in own:
            raise Broken(f"the method holds the network's '{name}' as '{own[id(tensor)]}': keep "
                         "Tap names, and read the network from the hook's arguments")  # fmt: skip
    return f"to {subject.net}, Taps {', '.join(method.taps)}" if method.taps else ""


@law("methods", "attaches")
def trains(subject: MethodSubject) -> str:
    """It runs through, every loss term a finite scalar under a name of its own."""
    try:
        if subject.cls.trains and not subject.cls.parent:
            watched(subject, _check_terms, epochs=1)
        history = subject.trained.state.history
    except Diverged as error:
        raise Broken(f"{error}: look for a logarithm, root or division without an epsilon, or a "
                     "strength far too high") from error  # fmt: skip
    if not history:
        return "makes a network without training"
    return f"loss {history[0]['loss']:.3f} to {history[-1]['loss']:.3f}"


def _check_terms(terms: Any, step: Step, method: Method) -> None:
    if not isinstance(terms, dict):
        raise Broken(f"penalty returns a {type(terms).__name__}: return {{'name': scalar}}")
    for name, term in terms.items():
        if name in ("cross_entropy", "loss", "accuracy", "epoch"):
            raise Broken(f"penalty '{name}' hides the loop's own term: give it another name")
        if not torch.is_tensor(term) or term.ndim:
            raise Broken(f"penalty '{name}' is no scalar tensor: reduce it, with .mean() say")


@law("methods", "trains")
def strength_0_is_plain(subject: MethodSubject) -> None:
    """At strength 0 the trained weights are exactly those of plain training."""
    subject.must_train()
    _exempt(subject)
    try:
        trained = subject.run(strength=0.0)
    except Diverged as error:
        raise Broken(f"{error} at strength 0: 0 x NaN or 0 x inf is NaN; keep the term finite "
                     "(an epsilon inside roots and logarithms)") from error  # fmt: skip
    name, distance = furthest(trained.weights, plain(net=subject.net).weights)
    if distance == float("inf") and name not in plain(net=subject.net).weights:
        raise Broken(f"the network gained '{name}': keep parameters in the method, or declare "
                     "`replaces`")  # fmt: skip
    if distance > 0:
        raise Broken(
            f"at strength 0 '{name}' differs from plain by {distance:.2g}: multiply all that is "
            "added by self.strength, interpolate transforms (self.install does), run no extra "
            "forward pass in training mode"
        )


@law("methods", "trains", "strength_0_is_plain")
def tiny_strength_is_near_plain(subject: MethodSubject) -> str:
    """Strength 0 is no special case: just above it, hardly anything changes (SGD)."""
    subject.must_train()
    _exempt(subject)
    base = plain(SGD, subject.net)
    start, _, _ = subject.build()
    moved = max(furthest(base.weights, dict(start.state_dict()))[1], 1e-6)
    name, distance = furthest(subject.run(SGD, strength=1e-8).weights, base.weights)
    if not distance <= 1e-3 * moved:
        raise Broken(
            f"at strength 1e-8 '{name}' is {distance:.2g} away from plain (training moves weights "
            f"by {moved:.2g}): something is not scaled by strength, or 0 is a special case"
        )
    return f"{distance / moved:.0e} of the way"


def _exempt(subject: MethodSubject) -> None:
    if subject.cls.replaces:
        raise Skip(f"replaces a layer ({subject.cls.replaces}), so strength 0 is not plain")


@law("methods", "trains")
def same_seed_same_weights(subject: MethodSubject) -> None:
    """Two runs with one seed end in the same weights, and so does the method itself."""
    first, second = subject.trained, subject.run()
    for ours, other, what in (
        (first.weights, second.weights, "network"),
        (dict(first.method.state_dict()), dict(second.method.state_dict()), "method"),
    ):
        name, distance = furthest(ours, other)
        if distance > 0:
            raise Broken(
                f"two runs with the same seed differ in the {what}'s '{name}' by {distance:.2g}: "
                "draw every random number from self.generator"
            )


@law("methods", "trains", "same_seed_same_weights")
def resume_is_exact(subject: MethodSubject) -> None:
    """A run continued from any epoch's checkpoint ends as if it had never stopped."""
    subject.must_train()
    states: list[State] = []
    whole = subject.run(after_epoch=states.append)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        for state in states[:-1]:
            run.save_state(state)
            resumed = subject.run(resume=run.state("cpu"))
            _same_end(whole, resumed, state.epoch)


def _same_end(whole: Trained, resumed: Trained, epoch: int) -> None:
    name, distance = furthest(whole.state.tensors, resumed.state.tensors)
    if distance > 0 or whole.state.history != resumed.state.history:
        what = f"'{name}' differs by {distance:.2g}" if distance > 0 else "the loss differs"
        raise Broken(
            f"resumed after epoch {epoch}, {what}: keep what changes during training in "
            "parameters and buffers (register_buffer), not in plain attributes"
        )


@law("methods", "trains")
def training_lowers_the_loss(subject: MethodSubject) -> str:
    """On 64 images the cross-entropy falls."""
    subject.must_train()
    recipe = RECIPE.model_copy(update={"epochs": 10, "augment": False})
    history = subject.run(recipe).state.history
    first, last = history[0]["cross_entropy"], history[-1]["cross_entropy"]
    if not last < first:
        raise Broken(f"cross-entropy went from {first:.3f} to {last:.3f} in 10 epochs on 64 "
                     "images: the default strength is too high, or a sign is wrong")  # fmt: skip
    return f"{first:.2f} to {last:.2f}"


@law("methods", "trains")
def needs_are_declared(subject: MethodSubject) -> str:
    """It runs on every toy network, and without concepts, or declares what it needs."""
    refused = []
    for net in NETWORKS:
        for concepts in (True, False) if net == subject.net else (True,):
            data = toy_data(concepts)
            where = net if concepts else "data without concept masks"
            if reason := subject.refuses(net, data):
                refused.append(f"{where}: {reason}")
                continue
            try:
                subject.run(RECIPE.model_copy(update={"epochs": 1}), data=data, net=net)
            except Exception as error:
                text = " ".join(str(error).split())[:200]
                raise Broken(
                    f"fails on {where} ({type(error).__name__}: {text}): handle it, or declare "
                    "what is missing in `needs`"
                ) from error
    return "; ".join(refused)


@law("methods", "trains", "strength_0_is_plain")
def every_option_trains(subject: MethodSubject) -> str:
    """Each other choice of an option runs through, and is plain at strength 0."""
    subject.must_train()
    options = subject.options()
    if not options:
        raise Skip("has no options")
    recipe = RECIPE.model_copy(update={"epochs": 1})
    remarks: list[str] = []
    for name, value in options:
        where = f"with {name} = {value!r}"
        try:
            subject.run(recipe, **{name: value})
            none = subject.run(recipe, strength=0.0, **{name: value})
        except Diverged as error:  # an original's bug may be an option, and a run may fail
            remarks.append(f"flag: {where}: {error}")
            continue
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise Broken(f"{where}: {type(error).__name__}: {text}") from error
        if subject.cls.replaces:
            continue
        weight, distance = furthest(none.weights, plain(recipe, subject.net).weights)
        if distance > 0:
            raise Broken(f"{where}, at strength 0 '{weight}' differs from plain by {distance:.2g}")
    return "; ".join(remarks) or ", ".join(f"{name}={value}" for name, value in options)


@law("methods", "trains")
def names_the_concepts_it_used(subject: MethodSubject) -> str:
    """used_concepts tells which masks it saw, so that it is not scored on them."""
    if "concepts" not in subject.make().needs:
        raise Skip("needs no concept masks")
    trained = subject.trained
    concepts = trained.data.train.concepts
    known = concepts.names if concepts else ()
    used = trained.method.used_concepts()
    for name in used:
        if name not in known:
            raise Broken(f"used_concepts: no concept '{name}'{nearest(name, known)}")
    if not used:
        raise Broken("needs concept masks but names none in used_concepts: return the names of "
                     "those it was trained on, so that it is not scored on them")  # fmt: skip
    return ", ".join(used)
