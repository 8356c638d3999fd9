"""Worker processes: the same results as in one process, and a crash is said."""

from __future__ import annotations

import pytest
import torch
from tiny_suites import TOY_PLUGIN, specs_of, toy_suite, work

from legible.bench.errors import UserError
from legible.bench.execution.pool import Start, open_in_process, run_parallel
from legible.bench.execution.schedule import attempt
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace

CRASH = "import os\nimport multiprocessing\nif multiprocessing.parent_process():\n    os._exit(7)\n"


def test_a_new_process_opens_the_same_workspace(workspace, tmp_path):
    start = Start(workspace.store.root, "cpu", workspace.root, [TOY_PLUGIN])
    (spec,) = specs_of(tmp_path, toy_suite())
    assert open_in_process(start).run_of(spec).name == workspace.run_of(spec).name


@pytest.mark.slow
def test_several_processes_give_the_weights_of_one(workspace, tmp_path):
    specs = specs_of(tmp_path, toy_suite('"plain", "dropout", "plain_rotated"', [0, 1]))
    assert attempt(workspace, specs, 2, [TOY_PLUGIN]) == []
    alone = Workspace(Store(tmp_path / "alone"))
    work(alone, specs)
    for spec in specs:
        first, second = (place.run_of(spec).weights("cpu") for place in (workspace, alone))
        assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_of_one_line(workspace, tmp_path):
    (tmp_path / "crash.py").write_text(CRASH)
    specs = specs_of(tmp_path, toy_suite("plain".join('""'), [0, 1]))
    with pytest.raises(UserError, match="a worker process died with exit code 7; run again"):
        run_parallel(workspace, specs, 2, [tmp_path / "crash.py"], lambda event: None)
