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


def lines_of(network: str, kind: str) -> dict[str, str]:
    """The outcomes of a network in the file."""
    lines = backbone_methods.read_outcomes(backbone_methods.OUTCOMES)
    return {line.name: line.outcome for line in lines if line[:2] == (network, kind)}


@pytest.mark.slow
@pytest.mark.parametrize("network", ["torchvision:resnet18", "torchvision:squeezenet1_0"])
class TestTheFileOfOutcomes:
    def test_says_what_every_method_does(self, network):
        assert outcomes(network, 64) == lines_of(network, "method")

    def test_says_which_audits_pass(self, network):
        found, written = audits(network, 64), lines_of(network, "algorithm")
        assert list(found) == list(written)
        assert {n for n in found if found[n] == WORKS} == {
            n for n in written if written[n] == WORKS
        }
        assert all(found.values())


def test_methods_take_maps_that_can_be_negative_and_heads_of_two_layers():
    found = outcomes("torchvision:mobilenet_v3_small", 64, ["icnn", "posthoc_class_maps"])
    assert found["icnn"] == WORKS
    assert (
        "class maps need a head that reads Tap 'features.12.2' itself"
        in found["posthoc_class_maps"]
    )


class TestATransformerOfTwoBlocks:
    @pytest.fixture(autouse=True)
    def transformer(self, monkeypatch):
        def make(classes: int) -> VisionTransformer:
            return VisionTransformer(32, 8, 2, 2, 12, 24, num_classes=classes)

        monkeypatch.setattr(
            backbone_methods, "model_builder", lambda name: model_builder(name, make)
        )

    def test_every_method_works_or_says_what_it_needs(self):
        found = outcomes("small.py:transformer", 32)
        assert found == dict.fromkeys(found, WORKS) | {
            "bean": NEEDS["dense"].reason,
            "clusterability": (
                'no weights between two hidden layers: use taps="all" or a deeper network'
            ),
            "concept_whitening": NEEDS["norm"].reason,
            "picnn": "Tap 'encoder.layers.encoder_layer_1.add_1' is inside a block: "
            "choose a Tap on the trunk",
            "plain_pruned": "has no weights between two Taps to prune",
            "plain_rotated": NEEDS["linear_head"].reason,
            "posthoc_class_maps": NEEDS["class_maps"].reason,
            "srip": "no Tap has units that one layer makes",
            "topoloss": "no Tap has units that one layer makes",
            "weight_l1": NEEDS["dense"].reason,
        }

    def test_audits(self):
        found = audits("small.py:transformer", 32)
        assert [name for name in found if found[name] != WORKS] == ["deep_lift", "guided_gradcam"]
        assert all("Gelu runs outside" in found[n] for n in ("deep_lift", "guided_gradcam"))


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
