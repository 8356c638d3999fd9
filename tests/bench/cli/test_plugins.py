"""Commands for authors of plugins: check, new."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_new_method_passes_the_check(empty, legible, kept_registry):
    code, out, _ = legible("new", "method", "my_method")
    assert code == 0 and out.strip() == "my_method.py"
    code, out, _ = legible("check", "my_method.py")
    assert code == 0 and "0 fail" in out
    text = Path("my_method.py").read_text()
    assert "self.strength" in text
    Path("my_method.py").write_text(text.replace("self.strength * ", ""))
    code, out, _ = legible("check", "my_method.py")
    assert code == 1 and "fail" in out


def test_a_file_is_never_overwritten_and_a_wrong_kind_is_one_line(empty, legible):
    Path("mine.py").write_text("")
    code, _, err = legible("new", "method", "mine")
    assert code == 2 and "mine.py" in err and Path("mine.py").read_text() == ""
    code, _, err = legible("new", "methd", "other")
    assert code == 2 and "did you mean 'method'" in err and len(err.strip().splitlines()) == 1


def test_what_cannot_be_checked_is_one_line(empty, legible):
    code, _, err = legible("check", "nowhere.py")
    assert code == 2 and "no plugin file" in err
