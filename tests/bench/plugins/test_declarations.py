"""What plugins say of themselves is checked when they are loaded, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from legible.bench.errors import UserError
from legible.bench.plugins import registry
from legible.bench.plugins.declarations import label_problem, refuse_declaration

pytestmark = pytest.mark.usefixtures("kept_registry")

METHOD = '''
from legible import Method, register

@register
class Mine(Method):
    """Mine."""

    LINE
'''


def test_everything_built_in_passes() -> None:
    registry.load()
    checked = 0
    for kind, items in registry.KINDS.items():
        for name, item in items.items():
            code = getattr(item, "function", item)
            # not what other tests have registered, nor models of libraries that they have used
            if code.__module__.startswith("legible.") and ":" not in name:
                refuse_declaration(kind, name, item)
                checked += 1
    assert checked > 100


@pytest.mark.parametrize("label", ["sync (reconstruction)", "Größe, 大", "x" * 60])
def test_labels_that_a_table_can_show(label: str) -> None:
    assert label_problem(label) == ""


@pytest.mark.parametrize(
    ("file", "line", "reason"),
    [
        ("my method.py", "", "method 'my method': a name has at most 60 letters"),
        ("=1+1.py", "", "a name has at most 60 letters"),
        (f"{'long' * 20}.py", "", "a name has at most 60 letters"),
        ("mine.py", 'label = "x" * 300', "label has 300 characters"),
        ("mine.py", 'label = "two\\nlines"', "label has control characters"),
        ("mine.py", 'label = "\\ud800"', "label has control characters"),
        ("mine.py", 'label = "=1+1"', "a spreadsheet would execute"),
        ("mine.py", "label = 3", "label is a int: use text"),
        ("mine.py", 'kind = "nul"', "no kind 'nul'; did you mean 'null'"),
        ("mine.py", 'needs = frozenset({"spacial"})', "no need 'spacial'; did you mean 'spatial'"),
        ("mine.py", 'parent = "mine"', "its parent is itself"),
    ],
)
def test_what_a_method_says_of_itself_is_checked_when_it_is_loaded(
    file: str, line: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / file
    path.write_text(METHOD.replace("LINE", line))
    with pytest.raises(UserError, match=reason) as error:
        registry.load_plugin(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("layer", r"its arguments are \(layer\), but a metric is called with two"),
        ("", "the first argument must be one of layer, network"),
        ("layer, probe, more", "called with two, like"),
        ("lay, probe", "the first argument must be one of layer, network"),
    ],
)
def test_the_arguments_of_metrics_are_checked(tmp_path: Path, arguments: str, reason: str) -> None:
    text = (
        "from legible import metric\n\n"
        "@metric(aspect='task', better='higher', per='network')\n"
        f"def mine({arguments}):\n    return 1.0\n"
    )
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError, match=reason):
        registry.load_plugin(tmp_path / "mine.py")
    (tmp_path / "mine.py").write_text(text.replace(f"mine({arguments})", "mine(layer, probe, k=1)"))
    assert registry.load_plugin(tmp_path / "mine.py") == [("metrics", "mine")]
