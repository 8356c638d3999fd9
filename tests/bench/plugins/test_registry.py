"""Finding plugins: what works, what cannot be imported, and what is there twice."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from textwrap import dedent

import pytest

from legible.bench.errors import UserError
from legible.bench.plugins import registry
from legible.bench.plugins.registry import Origin
from legible.bench.source_keys import content_key
from legible.methods.base import METHODS
from legible.metrics.base import METRICS

pytestmark = pytest.mark.usefixtures("kept_registry")

METHOD = '''
from legible import Method, register

@register
class Mine(Method):
    """Mine."""

    def __init__(self, strength: float = 1.0, k: int = 3, mode: str = "a") -> None:
        super().__init__(strength)
        if k < 1:
            raise ValueError("k must be at least 1")
'''


def write(path: Path, text: str, stamp: int = 1) -> Path:
    path.write_text(dedent(text))
    os.utime(path, ns=(stamp, stamp))
    return path


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a module and its entry point where an installed distribution would be."""

    def install(module: str, text: str, group: str = "legible.methods") -> Path:
        site = tmp_path / "site"
        info = site / f"{module}_dist-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {module}-dist\nVersion: 1.2\n"
        )
        (info / "entry_points.txt").write_text(f"[{group}]\n{module} = {module}\n")
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(importlib.sys.modules, module, raising=False)
        return write(site / f"{module}.py", text)

    return install


def test_everything_built_in_can_be_imported() -> None:
    assert registry.FAILED == {}
    assert {"plain", "sync"} <= set(METHODS)
    assert "accuracy" in METRICS
    assert {"kanji", "shapes"} <= set(registry.DATASETS)
    assert {"vgg", "mlp"} <= set(registry.BACKBONES)
    assert registry.plugin_of("methods", "plain") is None


class TestAFile:
    def test_is_found_under_its_own_name(self, tmp_path: Path) -> None:
        path = write(tmp_path / "mine.py", METHOD)
        assert registry.load_plugin(path) == [("methods", "mine")]
        assert registry.get("methods", "mine").name == "mine"
        assert registry.plugin_of("methods", "mine") == Origin(str(path))
        assert registry.source("methods", "mine") == path

    def test_may_register_several_kinds(self, tmp_path: Path) -> None:
        path = write(tmp_path / "both.py", METHOD + '''
from legible import metric

@metric(aspect="focus", better="lower", per="layer")
def both_metric(layer, probe):
    """One."""
    return 1.0
''')  # fmt: skip
        assert registry.load_plugin(path) == [("methods", "both"), ("metrics", "both_metric")]
        assert registry.plugin_of("metrics", "both_metric") == Origin(str(path))

    def test_loaded_twice_is_imported_once_until_it_changes(self, tmp_path: Path) -> None:
        path = write(tmp_path / "mine.py", METHOD)
        registry.load_plugin(path)
        first = METHODS["mine"]
        registry.load_plugin(path)
        assert METHODS["mine"] is first
        write(path, METHOD.replace("k: int = 3", "k: int = 4"), stamp=2)
        registry.load_plugin(path)
        assert registry.defaults(METHODS["mine"])["k"] == 4

    def test_that_is_not_there_is_the_users_error(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"no plugin file .*none\.py: give the path"):
            registry.load_plugin(tmp_path / "none.py")
        with pytest.raises(UserError, match="no plugin file"):
            registry.load_plugin(write(tmp_path / "mine.txt", METHOD))

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("import no_such_module", "No module named 'no_such_module'"),
            ("def f(:", "SyntaxError"),
            ("raise SystemExit(3)", "SystemExit: 3"),
            ("1 / 0", "ZeroDivisionError: division by zero"),
        ],
    )
    def test_that_fails_leaves_nothing_registered(
        self, text: str, reason: str, tmp_path: Path
    ) -> None:
        before = dict(METHODS)
        path = write(tmp_path / "mine.py", METHOD + "\n" + text)
        with pytest.raises(UserError, match=reason) as error:
            registry.load_plugin(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
        assert before == METHODS

    def test_called_like_a_built_in_names_both(self, tmp_path: Path) -> None:
        path = write(tmp_path / "plain.py", METHOD)
        plain = METHODS["plain"]
        with pytest.raises(UserError) as error:
            registry.load_plugin(path)
        assert str(path) in str(error.value)
        assert plain.origin in str(error.value)
        assert METHODS["plain"] is plain

    def test_two_classes_of_one_name_in_a_file_are_both_named(self, tmp_path: Path) -> None:
        second = METHOD.partition("@register")[2]
        path = write(tmp_path / "twins.py", METHOD + "\n@register" + second)
        with pytest.raises(UserError, match="registers 'Mine' in line 5 and in line 14") as error:
            registry.load_plugin(path)
        assert str(path) in str(error.value) and "twins" not in METHODS

    def test_called_like_another_plugin_names_both(self, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        first = write(tmp_path / "mine.py", METHOD)
        second = write(tmp_path / "other" / "mine.py", METHOD)
        registry.load_plugin(first)
        with pytest.raises(UserError, match="'mine' is defined in") as error:
            registry.load_plugin(second)
        assert str(first) in str(error.value)
        assert str(second) in str(error.value)
        assert METHODS["mine"].origin == str(first)

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            ("metric", "from legible import metric\n"
                       "@metric(aspect='task', better='higher', per='network')\n"
                       "def accuracy(network, probe):\n    return 1.0\n"),
            ("dataset", "from legible import dataset\n"
                        "@dataset\ndef kanji(root):\n    pass\n"),
            ("backbone", "from legible import backbone\n"
                         "@backbone\ndef vgg(image, classes):\n    pass\n"),
        ],
    )  # fmt: skip
    def test_of_any_kind_must_not_take_a_name(self, kind: str, text: str, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=f"{kind} '.*' is defined in .* and in .*thing.py"):
            registry.load_plugin(write(tmp_path / "thing.py", text))


class TestItsHelpers:
    """Modules beside a plugin file, and the package that it stands in."""

    TEXT = METHOD.replace("k: int = 3", "k: int = DEFAULT")

    def test_may_stand_beside_it(self, tmp_path: Path) -> None:
        write(tmp_path / "helper_one.py", "DEFAULT = 7\n")
        path = write(tmp_path / "mine.py", "from helper_one import DEFAULT\n" + self.TEXT)
        registry.load_plugin(path)
        assert registry.defaults(METHODS["mine"])["k"] == 7

    def test_are_imported_again_when_they_change(self, tmp_path: Path) -> None:
        helper = write(tmp_path / "helper_two.py", "DEFAULT = 7\n")
        path = write(tmp_path / "mine.py", "from helper_two import DEFAULT\n" + self.TEXT)
        registry.load_plugin(path)
        write(helper, "DEFAULT = 8\n", stamp=2)
        registry.load_plugin(path)
        assert registry.defaults(METHODS["mine"])["k"] == 8

    def test_may_be_its_own_package(self, tmp_path: Path) -> None:
        package = tmp_path / "my_package"
        package.mkdir()
        write(package / "__init__.py", "")
        write(package / "constants.py", "DEFAULT = 9\n")
        path = write(package / "mine.py", "from .constants import DEFAULT\n" + self.TEXT)
        assert registry.load_plugin(path) == [("methods", "mine")]
        assert METHODS["mine"].__module__ == "my_package.mine"
        assert registry.defaults(METHODS["mine"])["k"] == 9

    def test_cannot_be_a_second_package_of_one_name(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            package = tmp_path / folder / "my_package"
            package.mkdir(parents=True)
            write(package / "__init__.py", "")
            write(package / f"{folder}.py", f"DEFAULT = 9\n{self.TEXT}".replace("mine", folder))
        registry.load_plugin(tmp_path / "a" / "my_package" / "a.py")
        with pytest.raises(UserError, match="its package 'my_package' is another package"):
            registry.load_plugin(tmp_path / "b" / "my_package" / "b.py")

    def test_of_one_name_are_not_mixed_up(self, tmp_path: Path) -> None:
        for folder, value in (("one", 1), ("two", 2)):
            (tmp_path / folder).mkdir()
            write(tmp_path / folder / "helper_three.py", f"DEFAULT = {value}\n")
            text = "from helper_three import DEFAULT\n" + self.TEXT
            write(tmp_path / folder / f"mine_{folder}.py", text)
        registry.load_plugin(tmp_path / "one" / "mine_one.py")
        with pytest.raises(UserError, match=r"'helper_three' is .*one.*, not .*two.*: rename"):
            registry.load_plugin(tmp_path / "two" / "mine_two.py")
        assert "mine_two" not in METHODS


class TestAnEditWhileItRuns:
    """A key stands for the bytes that were compiled, and workers compile the same bytes."""

    def test_leaves_the_key_as_it_was_until_the_file_is_loaded_again(self, tmp_path: Path) -> None:
        write(tmp_path / "helper_four.py", "DEFAULT = 7\n")
        path = write(tmp_path / "mine.py", "from helper_four import DEFAULT\n" + METHOD)
        registry.load_plugin(path)
        key = content_key(path)
        write(tmp_path / "helper_four.py", "DEFAULT = 8\n", stamp=2)
        write(path, path.read_text().replace("k: int = 3", "k: int = 4"), stamp=2)
        assert content_key(path) == key
        assert registry.changed_files() == [tmp_path / "helper_four.py", path]
        registry.load_plugin(path)
        assert content_key(path) != key
        assert registry.changed_files() == []

    def test_does_not_reach_a_worker(self, tmp_path: Path) -> None:
        text = "from helper_five import DEFAULT\n" + METHOD.replace("= 3", "= DEFAULT")
        helper = write(tmp_path / "helper_five.py", "DEFAULT = 7\n")
        path = write(tmp_path / "mine.py", text)
        sources = {path: path.read_bytes(), helper: helper.read_bytes()}
        write(helper, "DEFAULT = 8\n", stamp=2)
        write(path, "raise SystemExit", stamp=2)
        registry.load(plugins=[path], sources=sources)
        assert registry.defaults(METHODS["mine"])["k"] == 7


@pytest.mark.parametrize("module", ["methods.base", "metrics.base", "bench.data.base"])
def test_an_old_import_is_answered_with_the_new_one(module: str, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", f"from {module} import register\n")
    with pytest.raises(UserError, match="from legible import") as error:
        registry.load_plugin(path)
    assert "\n" not in str(error.value)


class TestADistribution:
    def test_is_found_with_its_version(self, distribution) -> None:
        distribution("swirling", METHOD)
        registry.load()
        assert registry.FAILED == {}
        assert METHODS["swirling"].__name__ == "Mine"
        assert registry.plugin_of("methods", "swirling") == Origin("swirling-dist", "1.2")

    def test_that_cannot_be_imported_is_listed_and_hides_nothing(self, distribution) -> None:
        distribution("sinking", "import no_such_module")
        registry.load()
        assert registry.FAILED == {
            "sinking": "ModuleNotFoundError: No module named 'no_such_module'"
        }
        assert "sync" in METHODS
        with pytest.raises(UserError, match="method 'sinking' cannot be imported: ModuleNotFound"):
            registry.get("methods", "sinking")

    def test_that_leaves_python_is_listed(self, distribution) -> None:
        distribution("leaving", "raise SystemExit(1)")
        registry.load()
        assert registry.FAILED == {"leaving": "SystemExit: 1"}

    def test_called_like_a_built_in_is_an_error(self, distribution) -> None:
        path = distribution("bean", METHOD)
        with pytest.raises(
            UserError, match=r"method 'bean' is defined in .*bean\.py and in"
        ) as error:
            registry.load()
        assert str(path) in str(error.value)


class TestParameters:
    @pytest.fixture(autouse=True)
    def mine(self, tmp_path: Path, kept_registry: None) -> None:
        registry.load_plugin(write(tmp_path / "mine.py", METHOD))

    def test_are_filled_in(self) -> None:
        found = registry.parameters(registry.get("methods", "mine"), {"k": 5})
        assert found == {"strength": 1.0, "k": 5, "mode": "a"}

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ({"strenght": 1}, "no parameter 'strenght'; did you mean 'strength'"),
            ({"zzz": 1}, "it has: strength, k, mode"),
            ({"k": "many"}, "k = 'many'"),
            ({"k": 0}, "method 'mine': k must be at least 1"),
        ],
    )
    def test_are_refused_in_one_line(self, given: dict, reason: str) -> None:
        with pytest.raises(UserError, match=reason) as error:
            registry.make_method("mine", given)
        assert "\n" not in str(error.value)

    def test_a_typo_of_a_name_is_guessed(self) -> None:
        with pytest.raises(UserError, match="no method 'mien'; did you mean 'mine'"):
            registry.get("methods", "mien")
        with pytest.raises(UserError, match="did you mean 'torchvision:shufflenet_v2_x0_5'"):
            registry.get("backbones", "shufflenet_v2_x0_5")
        with pytest.raises(UserError, match=r"no metric 'xyzzy' \(see: legible list metrics\)"):
            registry.get("metrics", "xyzzy")


class TestConstructors:
    """What a method's constructor may look like."""

    def load(self, tmp_path: Path, text: str) -> type:
        registry.load_plugin(write(tmp_path / "mine.py", text))
        return METHODS["mine"]

    def test_may_pass_keyword_arguments_on(self, tmp_path: Path) -> None:
        cls = self.load(tmp_path, '''
            from legible import Method, register

            @register
            class Mine(Method):
                """Mine."""

                def __init__(self, k: int = 3, **kwargs) -> None:
                    super().__init__(**kwargs)
                    self.k = k
            ''')  # fmt: skip
        assert registry.parameters(cls, {}) == {"k": 3}  # nobody gave a strength
        assert registry.make_method("mine", {"strength": 0.5}).strength == 0.5
        with pytest.raises(UserError, match="no parameter 'strenght'; did you mean 'strength'"):
            registry.parameters(cls, {"strenght": 1})

    def test_may_have_types_that_only_a_type_checker_imports(self, tmp_path: Path) -> None:
        cls = self.load(tmp_path, '''
            from __future__ import annotations
            from typing import TYPE_CHECKING
            from legible import Method, register
            if TYPE_CHECKING:
                from nowhere import Shape

            @register
            class Mine(Method):
                """Mine."""

                def __init__(self, strength: float = 1.0, shape: Shape = "round") -> None:
                    super().__init__(strength)
            ''')  # fmt: skip
        assert registry.parameters(cls, {"strength": 2}) == {"strength": 2.0, "shape": "round"}

    @pytest.mark.parametrize(
        ("signature", "reason"),
        [
            ("*values", "parameter 'values' is positional-only"),
            ("k: int", "k is missing"),
            ("k: object = frozenset('ab')", "parameter 'k' is a frozenset"),
            ("k=lambda: 1", "parameter 'k' is a function"),
        ],
    )
    def test_are_refused_in_one_line(self, signature: str, reason: str, tmp_path: Path) -> None:
        cls = self.load(tmp_path, f'''
            from legible import Method, register

            @register
            class Mine(Method):
                """Mine."""

                def __init__(self, {signature}) -> None:
                    super().__init__()
            ''')  # fmt: skip
        with pytest.raises(UserError, match=reason) as error:
            registry.parameters(cls, {})
        assert "\n" not in str(error.value)


def test_two_methods_in_one_file_are_named(tmp_path: Path) -> None:
    text = METHOD + METHOD.replace("class Mine", "class Other")
    with pytest.raises(UserError, match=r"registers two methods, Mine and Other: write one"):
        registry.load_plugin(write(tmp_path / "mine.py", text))
    assert "mine" not in METHODS


class TestAModelAsABackbone:
    TEXT = (
        "from torch import nn\n\n\ndef build(classes):\n"
        "    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())\n"
        "    return nn.Sequential(*body, nn.Linear(400, classes))\n"
    )

    def test_can_be_a_function_of_a_file(self, tmp_path: Path) -> None:
        path = write(tmp_path / "my_net.py", self.TEXT)
        build = registry.get("backbones", f"{path}:build")
        assert build((3, 12, 12), 5).taps["1"].shape == (4, 10, 10)
        assert registry.source("backbones", f"{path}:build") == path
        assert registry.plugin_of("backbones", f"{path}:build") == registry.Origin(str(path))
        values = registry.parameters(build, {"taps": ["1"]}, skip=2)
        assert values == {"taps": ["1"], "weights": "", "head": "new"}

    def test_of_an_unknown_function_is_refused_with_the_nearest(self, tmp_path: Path) -> None:
        path = write(tmp_path / "my_net.py", self.TEXT)
        with pytest.raises(UserError, match="has no function 'biuld'; did you mean 'build'"):
            registry.get("backbones", f"{path}:biuld")

    def test_can_be_torchvision_s(self) -> None:
        assert registry.get("backbones", "torchvision:resnet18").__name__ == "torchvision:resnet18"
        with pytest.raises(UserError, match="head = 'old'"):
            registry.parameters(registry.get("backbones", "torchvision:resnet18"),
                                {"head": "old"}, skip=2)  # fmt: skip
