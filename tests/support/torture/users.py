"""Folders that may only be read, and files of another user: one line, and nothing is set aside."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from torture.commands import check_text, import_what_it_needs, legible
from torture.disk import EXPORT
from torture.outcomes import Outcome
from torture.place import (
    PUBLISH,
    RUN,
    Reference,
    copy_of,
    different,
    run_of,
    scratch,
    tables,
    unfinished,
)

Case = Callable[[Reference, Path], Outcome]
#: A user who owns nothing.
NOBODY = 54321
CPU = ("--device", "cpu")
PLUGINS = ("--plugin", "toy.py", "--plugin", "mine.py")
#: Commands, and the codes with which they may end in a place that may only be read.
READ_ONLY: dict[str, tuple[Sequence[str], tuple[int, ...]]] = {
    "run, all done": (RUN, (0,)),
    "publish": (PUBLISH, (2,)),
    "publish elsewhere": ((*PUBLISH, "--results", "OUT"), (0,)),
    "export": ((*EXPORT[:5], "x.json", *EXPORT[6:]), (2,)),
    "export elsewhere": ((*EXPORT[:5], "OUT/x.json", *EXPORT[6:]), (0,)),
    "merge": (("merge", "tiny.toml", "x.json", *CPU), (2,)),
    "verify": (("verify", "tiny.toml", "x.json", *CPU), (2,)),
    "adopt": (("adopt", "tiny.toml", *CPU), (0, 1, 2)),
    "show": (("show", "RUNNAME", *CPU, *PLUGINS), (2,)),
    "show elsewhere": (("show", "RUNNAME", *CPU, *PLUGINS, "--out", "OUT/u.png"), (0,)),
    "why": (("why", "RUNNAME", *CPU, *PLUGINS), (0,)),
    "new": (("new", "method", "another"), (2,)),
    "check": (("check", "mine.py"), (0,)),
    "run elsewhere": ((*RUN, "--runs", "OUT/runs", "--results", "OUT"), (0,)),
}
#: Files and folders that may not be read: of a run ("RUN/"), or of the place.
UNREADABLE = ("RUN/network.safetensors", "RUN/manifest.json", "RUN/scores-*.json", "RUN/plugins",
              "RUN/plugins/mine.py", "RUN", "runs", "runs/.locks", "runs/.suites.json",
              "results/tiny/scores.csv", "results/tiny/runs.csv", "results/tiny/publication.json",
              "results", "tiny.toml", "mine.py", "helper.py")  # fmt: skip
LOOKING: dict[str, Sequence[str]] = {
    "run": RUN,
    "publish": (*PUBLISH, "--results", "OUT"),
    "why": ("why", "RUNNAME", *CPU, *PLUGINS),
}


def cases(short: bool) -> Iterator[Case]:
    """Each command in a place that may only be read, and each unreadable file."""
    for name in READ_ONLY:
        yield partial(read_only, name)
    for name in UNREADABLE:
        for command in LOOKING:
            yield partial(unreadable, name, command)
    yield unfinished_run_of_another


def _may_act(outcome: Outcome) -> bool:
    if os.geteuid() != 0:
        outcome.skipped = "needs root, to act as another user"
    return not outcome.skipped


def _words(words: Sequence[str], out: Path, run: Path) -> list[str]:
    """A command's words with the folder of results and the run in their places."""
    return [str(w).replace("OUT", str(out)).replace("RUNNAME", run.name) for w in words]


def _place(reference: Reference, folder: Path) -> tuple[Path, Path]:
    """A finished place of root with a submission, and a folder that the other user owns."""
    copy_of(reference, folder)
    legible(folder, *EXPORT)
    out = folder.parent / "out"
    out.mkdir()
    os.chown(out, NOBODY, NOBODY)
    return folder, out


@cache
def _import_for(words: tuple[str, ...], reference: Reference) -> None:
    """Imports all that a command needs."""
    folder = scratch(reference.folder.parent) / "users"
    out = folder.parent / "out"
    if not folder.exists():
        _place(reference, folder)
    run = run_of(folder, "mine")
    import_what_it_needs(folder, *_words(words, out, run))


def read_only(name: str, reference: Reference, folder: Path) -> Outcome:
    """A command of a user who may read all files and write none."""
    outcome = Outcome("a place that may only be read", name)
    if not _may_act(outcome):
        return outcome
    words, codes = READ_ONLY[name]
    _import_for(tuple(map(str, words)), reference)
    here, out = _place(reference, folder)
    before = _states(here)
    ended = legible(
        here, *_words(words, out, run_of(here, "mine")), user=NOBODY, log=out / "output"
    )
    check_text(outcome, ended)
    outcome.require(ended.code in codes, "other", f"ended with {ended.code}: {ended.text[-300:]}")
    if ended.code == 2:
        outcome.require("Permission denied" in " ".join(ended.errors), "other",
                        f"no reason: {ended.text[-300:]}")  # fmt: skip
    outcome.require(_states(here) == before, "lost work", "files changed")
    if (out / "tiny" / "scores.csv").is_file():
        same = (out / "tiny" / "scores.csv").read_text() == reference.tables["scores.csv"]
        outcome.require(same, "silently wrong", "scores.csv differs")
    return outcome


def unreadable(name: str, command: str, reference: Reference, folder: Path) -> Outcome:
    """A file or folder may not be read: refused by name, or not needed; never set aside."""
    outcome = Outcome(f"unreadable for another user: {command}", name)
    if not _may_act(outcome):
        return outcome
    _import_for(tuple(map(str, LOOKING[command])), reference)
    here, out = _place(reference, folder)
    run = run_of(here, "mine")
    path = next(here.glob(name.replace("RUN", f"runs/{run.name.replace('(', '[(]')}")))
    path.chmod(0)
    before = _states(here)
    words = _words(LOOKING[command], out, run)
    ended = legible(here, *words, user=NOBODY, log=out / "output")
    check_text(outcome, ended)
    if ended.code:
        text = " ".join(ended.errors) or ended.text[-200:]
        outcome.require("ermission denied" in ended.text or path.name in text, "other",
                        f"neither path nor reason: {text}")  # fmt: skip
    outcome.require(_states(here) == before, "lost work", "files changed")
    outcome.require("set aside" not in ended.text, "lost work", "set aside")
    path.chmod(0o755 if path.is_dir() else 0o644)
    published = out / "tiny" / "scores.csv"
    if ended.code == 0 and published.is_file():
        same = published.read_text() == reference.tables["scores.csv"]
        outcome.require(same, "silently wrong", f"scores.csv differs: {ended.text[-200:]}")
    _finish(outcome, here, reference)
    return outcome


def unfinished_run_of_another(reference: Reference, folder: Path) -> Outcome:
    """A run of root that is not finished: another user cannot go on, and says so."""
    outcome = Outcome("an unfinished run of another user", "")
    if not _may_act(outcome):
        return outcome
    _import_for((*RUN, "--jobs", "1"), reference)
    unfinished(folder, reference)
    before = _states(folder)
    out = folder.parent / "out"
    out.mkdir()
    os.chown(out, NOBODY, NOBODY)
    ended = legible(folder, *RUN, "--jobs", "1", user=NOBODY, log=out / "output")
    check_text(outcome, ended)
    outcome.require(ended.code == 2 and "ermission denied" in ended.text, "other",
                    f"ended with {ended.code}: {ended.text[-300:]}")  # fmt: skip
    outcome.require(_states(folder) == before, "lost work", "files changed")
    _finish(outcome, folder, reference)
    return outcome


def _finish(outcome: Outcome, here: Path, reference: Reference) -> None:
    """The owner's own commands still work and give the same tables."""
    for words in ((*RUN, "--jobs", "1"), PUBLISH):
        ended = legible(here, *words)
        outcome.require(ended.code == 0, "lost work", f"{words[0]}: {ended.text[-300:]}")
    shutil.rmtree(here / "results" / "tiny" / "submissions", ignore_errors=True)
    names = different(tables(here), reference.tables)
    outcome.require(not names, "silently wrong", f"tables differ: {names}")


def _states(here: Path) -> dict[str, tuple[int, int, int]]:
    """Size, owner and time of every file."""
    out = {}
    for path in here.rglob("*"):
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode) and not path.name.startswith(".output"):
            out[str(path)] = (info.st_size, info.st_uid, info.st_mtime_ns)
    return out
