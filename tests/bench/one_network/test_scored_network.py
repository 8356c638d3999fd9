"""One call scores a network and writes its page; nothing is lost when something is wrong."""

from __future__ import annotations

import re

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from small_networks import small_network

from legible.bench.errors import UserError
from legible.bench.one_network.image_data import ImageData
from legible.bench.one_network.scored_network import ScoreRequest, _folder, score_one
from legible.bench.one_network.subject import OwnNetwork
from legible.bench.one_network.unit_concepts import COLUMNS
from legible.bench.scores.score_table import read_scores

FEW = ["accuracy", "focus_compactness"]


@pytest.fixture
def request_for(tmp_path, toy, kept_registry):
    def make(network=None, data=None, **more):
        return ScoreRequest(network or small_network(), data or toy, metrics=FEW, device="cpu",
                            results=tmp_path, **more)  # fmt: skip

    return make


def test_page_and_table_lie_in_a_folder_of_the_names(request_for, tmp_path):
    scored = score_one(request_for())
    assert scored.page == tmp_path / "scored" / "Sequential-toy" / "README.md"
    table = read_scores(scored.page.with_name("scores.csv"))
    assert table.equals(scored.table)
    assert set(table["method"]) > {"network", "untrained", "impostor: label"}
    assert set(table["backbone"]) == {"Sequential"} and set(table["dataset"]) == {"toy"}


def test_the_same_call_gives_the_same_bytes(request_for):
    first = score_one(request_for()).page
    before = {path: path.read_bytes() for path in first.parent.iterdir()}
    score_one(request_for())
    assert {path: path.read_bytes() for path in first.parent.iterdir()} == before


def test_weights_are_in_the_name_and_change_the_scores(request_for, tmp_path):
    state = small_network().state_dict()
    save_file({k: v.roll(1, 0) for k, v in state.items()}, tmp_path / "other.safetensors")
    scored = score_one(request_for(weights=str(tmp_path / "other.safetensors")))
    assert scored.page.parent.name == "Sequential-other-toy"
    assert not scored.table["value"].equals(score_one(request_for()).table["value"])


def test_other_scores_are_not_overwritten(request_for, toy):
    page = score_one(request_for(name="mine")).page
    before = page.read_bytes()
    images = (toy.test.images.float(), toy.test.labels)
    with pytest.raises(UserError, match="holds the scores of Sequential on toy: choose another"):
        score_one(request_for(data=images, name="mine"))
    assert page.read_bytes() == before
    (page.with_name("scores.csv")).write_text("junk")
    with pytest.raises(UserError, match="holds no score table: choose another --name"):
        score_one(request_for(name="mine"))
    with pytest.raises(UserError, match=r"name '\.\./x' has a '/'"):
        score_one(request_for(name="../x", data="imagefolder:nowhere"))  # before data is read


def test_another_command_has_a_page_of_its_own(request_for):
    pages = [score_one(request_for(command=f"legible score x {more}")).page
             for more in ("", "--images 20", "--layers y", "--images 20")]  # fmt: skip
    names = [page.parent.name for page in pages]
    assert names == ["Sequential-toy", "Sequential-toy-2", "Sequential-toy-3", "Sequential-toy-2"]
    assert score_one(request_for()).page.parent.name == "Sequential-toy-4"  # from Python
    score_one(request_for(command="legible score x", name="mine"))
    with pytest.raises(UserError, match="holds the page of another command: choose another --name"):
        score_one(request_for(command="legible score y", name="mine", data="imagefolder:nowhere"))


def test_a_file_of_weights_that_is_not_there_is_named_with_the_nearest(request_for, tmp_path):
    (tmp_path / "checkpoint.pth.tar").touch()
    with pytest.raises(UserError, match=r"no file \S+/checkpoint.pth; did you mean '\S+\.tar'"):
        score_one(request_for(weights=str(tmp_path / "checkpoint.pth")))
    with pytest.raises(UserError, match=r"no file no/where\.pth$"):  # before data is read
        score_one(request_for(weights="no/where.pth", data="imagefolder:nowhere"))


def test_the_folder_has_the_names_of_weights_and_data(request_for, tmp_path, toy):
    torch.save({"state_dict": small_network().state_dict()}, tmp_path / "best.v2.pth.tar")
    page = score_one(request_for(weights=str(tmp_path / "best.v2.pth.tar"))).page
    assert page.parent.name == "Sequential-best.v2-toy"
    subject = OwnNetwork("x:net", small_network(), small_network)
    images = ImageData("coco(size=64,path=set)", toy.test.images, toy.test.labels, ("a", "b"))
    request = request_for(weights="a/best.pth")
    assert _folder(request, subject, images).name == "net-best-coco-set"


def test_a_wrong_name_of_a_network_is_said_before_data_is_read(request_for):
    with pytest.raises(UserError, match="did you mean 'vgg'"):
        score_one(request_for(network="vggg", data="imagefolder:nowhere"))


def test_without_results_nothing_is_written(request_for, tmp_path, toy, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = ScoreRequest(small_network(), toy, metrics=FEW, device="cpu", results=None)
    scored = score_one(request)
    assert scored.page is None and len(scored.table) and list(tmp_path.iterdir()) == []


def test_the_best_concept_of_each_unit_and_pictures_lie_beside_the_page(request_for):
    page = score_one(request_for()).page
    units = pd.read_csv(page.with_name("units.csv"))
    assert list(units) == COLUMNS and not units.duplicated(["layer", "unit"]).any()
    concepts = pd.read_csv(page.with_name("concepts.csv"))
    assert list(concepts) == [*COLUMNS, "untrained"] and concepts["concept"].is_unique
    text = page.read_text()
    pictures = re.findall(r"!\[\]\((.+?)\)", text)
    assert pictures == ["units-1.png", "units-4.png"]
    assert all(page.with_name(name).read_bytes()[:4] == b"\x89PNG" for name in pictures)
    best = units.sort_values("precision", kind="stable").iloc[-1]
    assert re.search(rf"\| {best.concept} +\| 20 +\| `{best.layer}` {best.unit} +\|", text)


def test_a_given_normalisation_counts(request_for, toy):
    table = score_one(request_for()).table
    own = {"mean": toy.test.mean.tolist(), "std": toy.test.std.tolist()}
    assert score_one(request_for(**own)).table["value"].equals(table["value"])
    other = score_one(request_for(mean=[0.0], std=[0.1])).table
    assert not other["value"].equals(table["value"])
    with pytest.raises(UserError, match="mean and std belong together"):
        score_one(request_for(mean=[0.0]))


def test_a_dataset_of_a_plugin_is_scored_by_name(request_for, toy_plugin):
    scored = score_one(request_for(data="toy(size=18)", plugins=[toy_plugin], images=30))
    assert set(scored.table["dataset"]) == {"toy(size=18)"}
    assert "Images:** 30 of 1 x 18 x 18" in scored.page.read_text()


def test_progress_is_reported(request_for):
    lines: list[str] = []
    score_one(request_for(images=40), lines.append)
    ends = [line.partition(":")[0] for line in lines if ":" in line]
    assert ends == ["forward pass of 40 images", "layer 4", "network", "impostors",
                    "forward pass of 40 images", "untrained"]  # fmt: skip
    assert lines[2:4] == ["network, task (1 of 2)", "network, focus (2 of 2)"]
    assert "impostors, label (1 of 5)" in lines and "untrained, focus (2 of 2)" in lines


def test_float_images_of_any_torch_network(request_for):
    generator = torch.Generator().manual_seed(0)
    data = (torch.randn(20, 1, 16, 16, generator=generator), torch.arange(20) % 3)
    table = score_one(request_for(data=data)).table
    assert table.loc[table["metric"] == "accuracy", "value"].notna().any()
