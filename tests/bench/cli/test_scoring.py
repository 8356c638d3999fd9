"""The command that scores a network one already has."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from small_networks import small_network
from tiny_suites import TOY_PLUGIN

from legible.bench.scores.score_table import read_scores

FEW = ("--metrics", "accuracy,focus_compactness", "--plugin", TOY_PLUGIN)
MINE = """
from torch import nn


def build(classes=3):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes),
    )
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, kept_registry):
    """A folder with a user's network, its weights, and a class map, as the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_net.py").write_text(MINE)
    save_file(small_network(classes=5).state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "map.json").write_text(json.dumps({"a": 4, "b": "0-1", "c": 2}))
    return tmp_path


def test_one_command_writes_page_and_table(folder, legible):
    code, out, err = legible("score", "my_net.py:build", "--weights", "w.safetensors", "--data",
                             "toy", "--class-map", "map.json", "--layers", "4", *FEW)  # fmt: skip
    assert code == 0, err
    assert out.strip() == "results/scored/build-w-toy/README.md" and "network: " in err
    page = (folder / out.strip()).read_text()
    assert "legible score my_net.py:build --weights w.safetensors" in page
    table = read_scores(folder / "results/scored/build-w-toy/scores.csv")
    accuracy = table[(table["metric"] == "accuracy") & (table["method"] == "network")]
    assert accuracy["value"].notna().all()
    assert set(table["layer"]) == {"", "4"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my_net.py:biuld"], "has no function 'biuld'; did you mean 'build'"),
        (["torchvision:resnet81"], "no model 'resnet81'; did you mean"),
        (["my_net.py:build", "--weights", "none.pth"], "no file none.pth"),
        (["my_net.py:build", "--weights", "other.pth"], "weights of another architecture"),
        (["my_net.py:build", "--layers", "44"], "has no node or module '44'; did you mean '4'"),
        (["my_net.py:build", "--mean", "0.5"], "mean and std belong together"),
        (["my_net.py:build", "--mean", "x", "--std", "1"], "--mean takes numbers"),
        (["my_net.py:build", "--metrics", "acuracy"], "no metric 'acuracy'"),
        (["my_net.py:build", "--class-map", "map.json"], "the head has no output 4: it has 3"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(
    folder, legible, arguments, message
):
    torch.save({"layer.weight": torch.ones(1), "bias": torch.ones(1)}, folder / "other.pth")
    words = [*arguments, "--data", "toy"]
    more = FEW[2:] if "--metrics" in words else FEW
    code, _, err = legible("score", *words, *more)
    assert code == 2 and message in err and err.startswith("legible: ")
    assert len(err.strip().splitlines()) == 1
    assert not (folder / "results").exists()
