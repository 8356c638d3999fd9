"""Laws about training: strength 0 is plain, equal seeds give equal weights, resume is exact."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from legible.bench.check.laws import NotApplicable, Violation, law
from legible.bench.check.method_subject import (
    MethodSubject,
    TrainingResult,
    plain_result,
    train_and_watch,
)
from legible.bench.check.observations import largest_difference
from legible.bench.check.toy import NETWORKS, RECIPE, toy_data
from legible.bench.errors import nearest, one_line
from legible.bench.execution.store import Run
from legible.bench.training.checkpoint import State
from legible.bench.training.loop import Diverged
from legible.methods.base import Method, Step

SGD = RECIPE.model_copy(update={"optimizer": "sgd", "lr": 0.05})
#: Names of the loop's own loss terms and columns of the history.
RESERVED = ("cross_entropy", "loss", "accuracy", "epoch")


@law("methods", "registers", "declarations_are_valid", "parameters_are_checked")
def attaches(subject: MethodSubject) -> str:
    """attach works, and stores none of the network's modules (they would be optimised twice)."""
    network, method, _ = subject.build()
    own = {id(p): name for name, p in (*method.named_parameters(), *method.named_buffers())}
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if id(tensor) in own:
            raise Violation(
                f"the method stores the network's '{name}' as '{own[id(tensor)]}': store Tap names "
                "instead, and use the network in the hook's arguments"
            )
    return f"to {subject.net}, Taps {', '.join(method.taps)}" if method.taps else ""


@law("methods", "attaches")
def trains(subject: MethodSubject) -> str:
    """Training runs, and every loss term is a finite scalar with an unused name."""
    try:
        if subject.trains:
            train_and_watch(subject, _check_terms, epochs=1)
        history = subject.result.state.history
    except Diverged as error:
        raise Violation(
            f"{error}: look for a logarithm, root or division without an epsilon, or for a "
            "strength that is far too high"
        ) from error
    if not history:
        return "makes a network without training"
    return f"loss {history[0]['loss']:.3f} to {history[-1]['loss']:.3f}"


def _check_terms(terms: Any, step: Step, method: Method) -> None:
    if not isinstance(terms, dict):
        raise Violation(f"penalty returns a {type(terms).__name__}: return {{'name': scalar}}")
    for name, term in terms.items():
        if name in RESERVED:
            raise Violation(f"penalty: the name '{name}' is used by the loop: use another name")
        if not torch.is_tensor(term) or term.ndim:
            raise Violation(f"penalty '{name}' is not a scalar tensor: reduce it, e.g. by .mean()")


@law("methods", "trains")
def strength_0_is_plain(subject: MethodSubject) -> None:
    """At strength 0 the trained weights are exactly those of plain training."""
    subject.require_training()
    _skip_if_a_layer_is_replaced(subject)
    try:
        result = subject.train(strength=0.0)
    except Diverged as error:
        raise Violation(
            f"{error} at strength 0: 0 x NaN and 0 x inf are NaN; keep the term finite (an epsilon "
            "inside roots and logarithms)"
        ) from error
    plain = plain_result(net=subject.net).weights
    name, distance = largest_difference(result.weights, plain)
    if distance == float("inf") and name not in plain:
        raise Violation(
            f"the network gained '{name}': keep parameters in the method, or declare `replaces`"
        )
    if distance > 0:
        raise Violation(
            f"at strength 0 '{name}' differs from plain by {distance:.2g}: multiply all that is "
            "added by self.strength, interpolate transforms (self.install does this), and run no "
            "extra forward pass in training mode"
        )


@law("methods", "trains", "strength_0_is_plain")
def tiny_strength_is_near_plain(subject: MethodSubject) -> str:
    """At strength 1e-8 the weights hardly differ from plain's (trained with SGD)."""
    subject.require_training()
    _skip_if_a_layer_is_replaced(subject)
    plain = plain_result(SGD, subject.net).weights
    start, _, _ = subject.build()
    change = max(largest_difference(plain, dict(start.state_dict())).distance, 1e-6)
    weights = subject.train(SGD, strength=1e-8).weights
    name, distance = largest_difference(weights, plain)
    if not distance <= 1e-3 * change:
        raise Violation(
            f"at strength 1e-8 '{name}' differs from plain by {distance:.2g} (training changes "
            f"weights by {change:.2g}): scale everything by strength; 0 must not be a special case"
        )
    return f"{distance / change:.0e} of the change by training"


def _skip_if_a_layer_is_replaced(subject: MethodSubject) -> None:
    if subject.cls.replaces:
        raise NotApplicable(f"replaces a layer ({subject.cls.replaces}): strength 0 is not plain")


@law("methods", "trains")
def same_seed_same_weights(subject: MethodSubject) -> None:
    """Two trainings with one seed give the same weights and the same state of the method."""
    first, second = subject.result, subject.train()
    for owner, tensors, others in (
        ("network", first.weights, second.weights),
        ("method", dict(first.method.state_dict()), dict(second.method.state_dict())),
    ):
        name, distance = largest_difference(tensors, others)
        if distance > 0:
            raise Violation(
                f"two trainings with the same seed differ in the {owner}'s '{name}' by "
                f"{distance:.2g}: draw every random number from self.generator"
            )


@law("methods", "trains", "same_seed_same_weights")
def resume_is_exact(subject: MethodSubject) -> None:
    """A training that is resumed from any epoch's checkpoint ends like an uninterrupted one."""
    subject.require_training()
    states: list[State] = []
    whole = subject.train(after_epoch=states.append)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        for state in states[:-1]:
            run.save_state(state)
            _check_same_end(whole, subject.train(resume=run.state("cpu")), state.epoch)


def _check_same_end(whole: TrainingResult, resumed: TrainingResult, epoch: int) -> None:
    name, distance = largest_difference(whole.state.tensors, resumed.state.tensors)
    if distance > 0 or whole.state.history != resumed.state.history:
        what = f"'{name}' differs by {distance:.2g}" if distance > 0 else "the loss differs"
        raise Violation(
            f"resumed after epoch {epoch}, {what}: keep what changes during training in "
            "parameters and buffers (register_buffer), not in plain attributes"
        )


@law("methods", "trains")
def training_lowers_the_loss(subject: MethodSubject) -> str:
    """The cross-entropy on 64 images decreases in 10 epochs."""
    subject.require_training()
    recipe = RECIPE.model_copy(update={"epochs": 10, "augment": False})
    history = subject.train(recipe).state.history
    first, last = history[0]["cross_entropy"], history[-1]["cross_entropy"]
    if not last < first:
        raise Violation(
            f"cross-entropy went from {first:.3f} to {last:.3f} in 10 epochs on 64 images: the "
            "default strength is too high, or a sign is wrong"
        )
    return f"{first:.2f} to {last:.2f}"


@law("methods", "trains")
def needs_are_declared(subject: MethodSubject) -> str:
    """The method trains on every toy network, and without concepts, unless `needs` excludes it."""
    unmet = []
    for net in NETWORKS:
        for concepts in (True, False) if net == subject.net else (True,):
            data = toy_data(concepts)
            where = net if concepts else "data without concept masks"
            if reason := subject.unmet_need(net, data):
                unmet.append(f"{where}: {reason}")
                continue
            try:
                subject.train(RECIPE.model_copy(update={"epochs": 1}), data=data, net=net)
            except Exception as error:
                raise Violation(
                    f"fails on {where} ({one_line(error)[:200]}): handle this case, or declare in "
                    "`needs` what is missing"
                ) from error
    return "; ".join(unmet)


@law("methods", "trains", "strength_0_is_plain")
def every_option_trains(subject: MethodSubject) -> str:
    """Every other choice of an option trains, and equals plain at strength 0."""
    subject.require_training()
    options = subject.options()
    if not options:
        raise NotApplicable("has no options")
    recipe = RECIPE.model_copy(update={"epochs": 1})
    remarks: list[str] = []
    for name, value in options:
        where = f"with {name} = {value!r}"
        try:
            subject.train(recipe, **{name: value})
            none = subject.train(recipe, strength=0.0, **{name: value})
        except Diverged as error:  # an option may reproduce a bug of the original code
            remarks.append(f"flag: {where}: {error}")
            continue
        except Exception as error:
            raise Violation(f"{where}: {one_line(error)[:200]}") from error
        if subject.cls.replaces:
            continue
        plain = plain_result(recipe, subject.net).weights
        weight, distance = largest_difference(none.weights, plain)
        if distance > 0:
            raise Violation(
                f"{where}, at strength 0 '{weight}' differs from plain by {distance:.2g}: multiply "
                "all that is added by self.strength"
            )
    return "; ".join(remarks) or ", ".join(f"{name}={value}" for name, value in options)


@law("methods", "trains")
def used_concepts_are_named(subject: MethodSubject) -> str:
    """used_concepts names the concepts that training used; metrics do not score on them."""
    if "concepts" not in subject.make().needs:
        raise NotApplicable("needs no concept masks")
    result = subject.result
    concepts = result.data.train.concepts
    names = concepts.names if concepts else ()
    used = result.method.used_concepts()
    for name in used:
        if name not in names:
            raise Violation(f"used_concepts: no concept '{name}'{nearest(name, names)}")
    if not used:
        raise Violation(
            "needs concept masks, but used_concepts is empty: return the names of the concepts it "
            "was trained on, so that metrics do not score it on them"
        )
    return ", ".join(used)
