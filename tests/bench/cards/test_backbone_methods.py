"""Which methods work on which networks: some of them on small ones, and the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchvision.models.vision_transformer import VisionTransformer

from legible.bench.backbones.model_names import model_builder
from legible.bench.cards import backbone_methods
from legible.bench.cards.backbone_methods import WORKS, audits, outcomes, table, toy_photographs
from legible.bench.plugins import registry
from legible.methods.base import NEEDS


@pytest.fixture(scope="module", autouse=True)
def registered():
    registry.load()


def test_toy_photographs_show_their_masks_at_any_size():
    small, large = (toy_photographs(side).test for side in (16, 64))
    assert large.images.shape == (12, 3, 64, 64) and small.images.shape == (12, 3, 16, 16)
    masks = [split.concepts.masks().float().mean((2, 3)) for split in (small, large)]
    assert masks[0].max() > 0 and (masks[0] == masks[1]).all()


def test_methods_work_or_say_what_they_need():
    names = ["plain", "sync", "bean", "bimt", "posthoc_pca"]
    found = outcomes("torchvision:squeezenet1_0", 64, names)
    assert found == {
        "plain": WORKS,
        "sync": WORKS,
        "bean": NEEDS["dense"].reason,
        "bimt": WORKS,
        "posthoc_pca": WORKS,
    }


def test_methods_take_maps_that_can_be_negative_and_heads_of_two_layers():
    found = outcomes("torchvision:mobilenet_v3_small", 64, ["icnn", "posthoc_class_maps"])
    assert found["icnn"] == WORKS
    assert (
        "class maps need a head that reads Tap 'features.12.2' itself"
        in found["posthoc_class_maps"]
    )


def test_methods_on_weights_say_that_a_network_has_none_at_its_taps(monkeypatch):
    def make(classes: int) -> VisionTransformer:
        return VisionTransformer(32, 8, 2, 2, 12, 24, num_classes=classes)

    monkeypatch.setattr(backbone_methods, "model_builder", lambda name: model_builder(name, make))
    found = outcomes("small.py:transformer", 32, ["plain", "plain_pruned", "srip", "topoloss"])
    assert found == {
        "plain": WORKS,
        "plain_pruned": "has no weights between two Taps to prune",
        "srip": "no Tap has units that one layer makes",
        "topoloss": "no Tap has units that one layer makes",
    }


def test_the_audit_names_what_fails():
    found = audits("torchvision:squeezenet1_0", 64)
    assert found["saliency"] == found["integrated_gradients"] == WORKS
    assert all(reason for reason in found.values())


def test_the_table_numbers_its_reasons():
    text = table({"a:one": {"plain": WORKS, "bean": "no"}, "a:two": {"plain": "no", "bean": "ill"}})
    lines = [line.replace(" ", "") for line in text.splitlines()]
    assert lines[:2] == ["||one|two|", "|:---|:---:|:---:|"] and lines[2:4] == [
        "|plain|✓|1|",
        "|bean|1|2|",
    ]
    assert lines[-2:] == ["1:no<br>", "2:ill"]


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Arguments for a page and a file of outcomes; two networks that answer at once."""
    monkeypatch.setattr(backbone_methods, "MODELS", {"torchvision:squeezenet1_0": 64, "timm:x": 8})
    monkeypatch.setattr(backbone_methods, "outcomes", lambda name, side: {"plain": WORKS})
    monkeypatch.setattr(backbone_methods, "audits", lambda name, side: {"saliency": "no"})
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- methods -->old<!-- /methods -->\nafter\n", encoding="utf-8")
    return ["--page", str(page), "--outcomes", str(tmp_path / "outcomes.csv")]


def test_the_table_is_written_between_its_marks(files):
    backbone_methods.main(files)
    written = Path(files[1]).read_text(encoding="utf-8")
    assert written.startswith("before\n") and written.endswith("\nafter\n")
    assert "squeezenet1_0" in written and "old" not in written and "1: no" in written


def test_networks_of_the_file_of_outcomes_are_tried_again_only_by_name(files, monkeypatch, capsys):
    backbone_methods.main(files)
    before = Path(files[3]).read_text(encoding="utf-8")
    monkeypatch.setattr(backbone_methods, "outcomes", lambda name, side: {"plain": "fails"})
    backbone_methods.main(files)
    assert Path(files[3]).read_text(encoding="utf-8") == before
    backbone_methods.main([*files, "torchvision:squeezenet1_0"])
    assert "squeezenet1_0,method,plain,fails" in Path(files[3]).read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        backbone_methods.main([*files, "torchvision:squeezenet1_1"])
    assert "squeezenet1_0" in capsys.readouterr().err


def test_the_page_shows_the_file_of_outcomes():
    lines = backbone_methods.read_outcomes(backbone_methods.OUTCOMES)
    page = backbone_methods.PAGE.read_text(encoding="utf-8")
    assert backbone_methods.page_text(lines) in page
