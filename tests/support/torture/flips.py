"""Flips: each kind of file is damaged; what does not fit is set aside, named and made again."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from tiny_suites import TUNED_SUITE

from torture.commands import Ended, check_text, legible
from torture.outcomes import Outcome
from torture.place import (
    PUBLISH,
    RUN,
    Reference,
    copy_of,
    different,
    left_behind,
    publish_and_compare,
    run_folders,
    tables,
    unfinished,
)

Case = Callable[[Reference, Path], Outcome]
#: Kinds of files of a finished run, as patterns in its folder.
OF_A_RUN = {
    "weights": "network.safetensors",
    "manifest": "manifest.json",
    "scores": "scores-*.json",
    "copy of a plugin": "plugins/*.py",
}
PUBLISHED = ("scores.csv", "README.md", "runs.csv", "provenance.json", "publication.json",
             "cost.csv", "leaderboard.json", "details/*.md")  # fmt: skip


def cases(count: int, seed: int) -> Iterator[Case]:
    """``count`` cases of each kind of damage, at places drawn from a seed."""
    for number in range(count):
        case_seed = 1000 * seed + number
        for kind in OF_A_RUN:
            for damage in DAMAGES:
                yield partial(finished_run, kind, damage, case_seed)
        for kind in ("weights", "manifest", "scores"):
            yield partial(another_run, kind, case_seed)
        for damage in DAMAGES:
            yield partial(checkpoint, damage, case_seed)
        for what in ("dangling link", "link to another run", "file"):
            yield partial(whole_run, what, case_seed)
        for name in PUBLISHED:
            yield partial(publication, name, case_seed)
        for damage in DAMAGES[:3]:
            yield partial(costs, damage, case_seed)
            yield partial(cache_file, damage, case_seed)
            yield partial(ledger, damage, case_seed)
            yield partial(submission, damage, case_seed)


# ----------------------------------------------------------------- damages


def flip(path: Path, numbers: random.Random) -> None:
    """One bit of the file is another."""
    data = bytearray(path.read_bytes())
    data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)
    path.write_bytes(data)


def cut(path: Path, numbers: random.Random) -> None:
    """The end of the file is missing."""
    data = path.read_bytes()
    path.write_bytes(data[: numbers.randrange(1, len(data))])


def empty(path: Path, numbers: random.Random) -> None:
    """The file has no content."""
    path.write_bytes(b"")


def dangling(path: Path, numbers: random.Random) -> None:
    """The file is a link to nothing."""
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def folder_instead(path: Path, numbers: random.Random) -> None:
    """There is a folder in the file's place."""
    path.unlink()
    path.mkdir()


DAMAGES = (flip, cut, empty, dangling, folder_instead)


def _pick(folder: Path, pattern: str, numbers: random.Random) -> Path:
    return numbers.choice(sorted(folder.glob(pattern)))


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _means_the_same(before: bytes, after: bytes | None) -> bool:
    """Whether a damaged JSON file still says what it said: a flipped bit of a space."""
    try:
        return json.loads(before) == json.loads(after or b"")
    except ValueError:
        return False


# ----------------------------------------------------------------- files of runs


def finished_run(
    kind: str, damage: Callable[..., None], seed: int, reference: Reference, folder: Path
) -> Outcome:
    """A file of a finished run is damaged."""
    outcome = Outcome(f"{kind}: {damage.__name__}", str(seed))
    numbers = random.Random(f"{kind} {damage.__name__} {seed}")
    copy_of(reference, folder)
    run = numbers.choice(list(run_folders(folder)))
    path = _pick(run, OF_A_RUN[kind], numbers)
    before = path.read_bytes()
    damage(path, numbers)
    harmless = _means_the_same(before, _content(path))
    return _run_and_compare(outcome, folder, reference, run, "" if harmless else path.name)


def another_run(kind: str, seed: int, reference: Reference, folder: Path) -> Outcome:
    """A file of another run is in the place of a run's own."""
    outcome = Outcome(f"{kind} of another run or seed", str(seed))
    numbers = random.Random(f"{kind} {seed}")
    copy_of(reference, folder)
    run, other = numbers.sample(list(run_folders(folder)), 2)
    path, source = (_pick(r, OF_A_RUN[kind], random.Random(0)) for r in (run, other))
    same = path.read_bytes() == source.read_bytes()  # edited networks may be equal
    shutil.copyfile(source, path)
    return _run_and_compare(outcome, folder, reference, run, "" if same else path.name)


def checkpoint(
    damage: Callable[..., None], seed: int, reference: Reference, folder: Path
) -> Outcome:
    """The checkpoint of an unfinished run is damaged."""
    outcome = Outcome(f"checkpoint: {damage.__name__}", str(seed))
    shutil.copytree(_with_checkpoint(reference), folder, symlinks=True)
    path = next(folder.glob("runs/*/training.safetensors"))
    damage(path, random.Random(seed))
    return _run_and_compare(outcome, folder, reference, path.parent, path.name)


@cache
def _with_checkpoint(reference: Reference) -> Path:
    """A place whose first run is unfinished and has a checkpoint."""
    from torture.place import scratch

    return unfinished(scratch(reference.folder.parent) / "unfinished", reference)


def whole_run(what: str, seed: int, reference: Reference, folder: Path) -> Outcome:
    """Something else is in the place of a run's folder."""
    outcome = Outcome(f"in a run's place: {what}", str(seed))
    copy_of(reference, folder)
    run, other = random.Random(seed).sample(list(run_folders(folder)), 2)
    shutil.rmtree(run)
    if what == "file":
        run.write_text("")
    else:
        run.symlink_to(other if what == "link to another run" else folder / "nowhere")
    return _run_and_compare(outcome, folder, reference, run, run.name)


def _run_and_compare(
    outcome: Outcome, folder: Path, reference: Reference, run: Path, name: str
) -> Outcome:
    """Runs and publishes; ``name`` is what must be said to be set aside, if anything is."""
    others = {r.name: _states(r) for r in run_folders(folder) if r != run}
    ended = legible(folder, *RUN, "--jobs", "1")
    check_text(outcome, ended)
    outcome.require(
        ended.code == 0, "lost work", f"run ended with {ended.code}: {ended.text[-300:]}"
    )
    if name:
        outcome.require("set aside" in ended.text and name in ended.text, "silently wrong",
                        f"{name} is damaged and not named: {ended.text[-300:]}")  # fmt: skip
    changed = [r for r, state in others.items() if _states(run.with_name(r)) != state]
    outcome.require(not changed, "lost work", f"other runs were touched: {changed}")
    publish_and_compare(outcome, folder, reference)
    outcome.require(not left_behind(folder), "other", f"left behind: {left_behind(folder)}")
    return outcome


def _states(run: Path) -> dict[str, int]:
    """When each file of a finished run was written; scores may be added by a redone neighbour."""
    return {
        path.name: path.stat().st_mtime_ns
        for path in run.glob("*.safetensors")
        if path.name != "training.safetensors"
    }


# ----------------------------------------------------------------- other files


def publication(name: str, seed: int, reference: Reference, folder: Path) -> Outcome:
    """A published file is damaged: what reads it refuses it or is right; publishing mends it."""
    outcome = Outcome(f"published {name}: flip", str(seed))
    numbers = random.Random(f"{name} {seed}")
    copy_of(reference, folder)
    path = _pick(folder / "results" / "tiny", name, numbers)
    flip(path, numbers)
    for words in (RUN, ("adopt", "tiny.toml", "--device", "cpu"), PUBLISH):
        ended = legible(folder, *words)
        check_text(outcome, ended)
        if ended.code:
            text = ended.errors[0] if ended.errors else ended.text[-200:]
            named = path.name in text or "scores.csv" in text
            outcome.require(named, "other", f"{words[0]}: {text}")
    if different(tables(folder), reference.tables):  # refused: leave it out, as the message says
        again = legible(folder, *PUBLISH, "--only-local")
        outcome.require(again.code == 0, "other", again.text[-300:])
    names = different(tables(folder), reference.tables)
    outcome.require(not names, "silently wrong", f"tables differ: {names}")
    return outcome


def costs(damage: Callable[..., None], seed: int, reference: Reference, folder: Path) -> Outcome:
    """A stored cost is damaged: it is measured again."""
    outcome = Outcome(f"costs: {damage.__name__}", str(seed))
    copy_of(reference, folder)
    command = [word for word in PUBLISH if word != "--no-cost"]
    first = legible(folder, *command)
    outcome.require(first.code == 0, "other", first.text[-300:])
    numbers = random.Random(f"{damage.__name__} {seed}")
    path = _pick(folder / "runs" / "costs", "*.json", numbers)
    before = path.read_bytes()
    damage(path, numbers)
    harmless = _means_the_same(before, _content(path))
    again = legible(folder, *command)
    check_text(outcome, again)
    outcome.require(again.code == 0, "other", again.text[-300:])
    outcome.require(harmless or f"{path.name}: unreadable" in again.text, "silently wrong",
                    f"not named: {again.text[-300:]}")  # fmt: skip
    shutil.rmtree(folder / "runs" / "costs")  # pages show the costs that there are
    legible(folder, *PUBLISH, "--only-local")
    names = different(tables(folder), reference.tables)
    outcome.require(not names, "silently wrong", f"tables differ: {names}")
    return outcome


SHAPES = """
title = "Cached"
seeds = [0]
probe = 40
layers = ["last_spatial"]
aspects = ["task", "semantics"]
methods = ["plain", "untrained"]
[recipe]
epochs = 1
batch = 16
[[blocks]]
dataset = "shapes"
data = {train = 60, validation = 20, test = 40}
backbone = "vgg"
net = {width = 4, stages = 2}
"""
CACHED = ("--device", "cpu", "--data-root", "data")


@cache
def _other_reference(reference: Reference, name: str) -> tuple[Path, dict[str, str]]:
    """Another suite, run and published without any disturbance."""
    from torture.place import make_place, scratch

    folder = make_place(scratch(reference.folder.parent) / name, OTHER_SUITES[name])
    for words in OTHER_COMMANDS[name]:
        ended = legible(folder, *words)
        assert ended.code == 0, ended.text
    return folder, tables(folder)


TUNED = TUNED_SUITE.replace('"untrained"', '"untrained"')
OTHER_SUITES = {"cached": SHAPES, "tuned": TUNED}
OTHER_COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "cached": [(*RUN, *CACHED[2:]), (*PUBLISH, *CACHED[2:])],
    "tuned": [("tune", "tiny.toml", "--device", "cpu", "--jobs", "1"), (*RUN, "--jobs", "1"),
              PUBLISH],
}  # fmt: skip


def cache_file(
    damage: Callable[..., None], seed: int, reference: Reference, folder: Path
) -> Outcome:
    """A cached dataset is damaged: it is made again, and the run stays."""
    outcome = Outcome(f"cache of a dataset: {damage.__name__}", str(seed))
    template, expected = _other_reference(reference, "cached")
    shutil.copytree(template, folder, symlinks=True)
    numbers = random.Random(f"{damage.__name__} {seed}")
    damage(_pick(folder / "data" / "cache", "*.safetensors", numbers), numbers)
    before = {run.name: _states(run) for run in (folder / "runs").glob("shapes*")}
    for words in OTHER_COMMANDS["cached"]:
        ended = legible(folder, *words)
        check_text(outcome, ended)
        outcome.require(ended.code == 0, "other", ended.text[-300:])
    after = {run.name: _states(run) for run in (folder / "runs").glob("shapes*")}
    outcome.require(after == before, "lost work", "runs were redone")
    names = different(tables(folder), expected)
    outcome.require(not names, "silently wrong", f"tables differ: {names}")
    return outcome


def ledger(damage: Callable[..., None], seed: int, reference: Reference, folder: Path) -> Outcome:
    """The ledger of a tuned suite is damaged: it is refused, and tuning again makes it again."""
    outcome = Outcome(f"ledger: {damage.__name__}", str(seed))
    template, expected = _other_reference(reference, "tuned")
    shutil.copytree(template, folder, symlinks=True)
    path = folder / "results" / "tiny" / "ledger.csv"
    damage(path, random.Random(f"{damage.__name__} {seed}"))
    for words in (RUN, PUBLISH):
        ended = legible(folder, *words)
        check_text(outcome, ended)
        outcome.require(ended.code == 2 and _names(ended, "ledger.csv"), "silently wrong",
                        f"{words[0]} ended with {ended.code}: {ended.text[-300:]}")  # fmt: skip
    for words in OTHER_COMMANDS["tuned"]:
        ended = legible(folder, *words)
        outcome.require(ended.code == 0, "lost work", ended.text[-300:])
    names = different(tables(folder), expected)
    outcome.require(not names, "silently wrong", f"tables differ: {names}")
    return outcome


def submission(
    damage: Callable[..., None], seed: int, reference: Reference, folder: Path
) -> Outcome:
    """A submission, or the verdicts on submissions, is damaged: refused by name."""
    numbers = random.Random(f"{damage.__name__} {seed}")
    verdicts = bool(seed % 2)
    outcome = Outcome(f"{'verdicts' if verdicts else 'submission'}: {damage.__name__}", str(seed))
    copy_of(reference, folder)
    export = ("export", "tiny.toml", "--origin", "Lab X", "--out", "x.json", "--device", "cpu",
              "--methods", "bean,plain")  # fmt: skip
    merge = ("merge", "tiny.toml", "x.json", "--device", "cpu")
    verify = ("verify", "tiny.toml", "x.json", "--device", "cpu")
    for words in (export, verify, merge) if verdicts else (export,):
        ended = legible(folder, *words)
        outcome.require(ended.code == 0, "other", f"{words[0]}: {ended.text[-300:]}")
    name = "results/tiny/submissions/verdicts.json" if verdicts else "x.json"
    path = folder / name
    before = path.read_bytes()
    damage(path, numbers)
    if _means_the_same(before, _content(path)):
        return outcome
    refused = legible(folder, *(PUBLISH if verdicts else merge))
    check_text(outcome, refused)
    outcome.require(refused.code == 2 and _names(refused, path.name), "silently wrong",
                    f"ended with {refused.code}: {refused.text[-300:]}")  # fmt: skip
    return outcome


def _names(ended: Ended, name: str) -> bool:
    return any(name in line for line in ended.errors)
