"""Weights from files that users name: formats, wrappers, and what does not fit."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from legible.bench.backbones.weights import load_weights, read_weights, weights_digest


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
def test_wrapped_files_give_the_plain_names(tmp_path, wrap, prefix):
    state = network().state_dict()
    torch.save(wrap({prefix + name: value for name, value in state.items()}), tmp_path / "w.pth")
    tensors = read_weights(tmp_path / "w.pth")
    assert list(tensors) == list(state)
    assert all(torch.equal(tensors[name], state[name]) for name in state)


def test_half_precision_becomes_float32(tmp_path):
    save_file({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors")["a"].dtype == torch.float32


def test_the_digest_is_about_tensors_not_about_the_file(tmp_path):
    state = {name: value.contiguous() for name, value in network().state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")
    digest = weights_digest(tmp_path / "w.pth")
    assert digest == weights_digest(tmp_path / "w.safetensors")
    save_file(state | {"3.bias": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert digest != weights_digest(tmp_path / "other.safetensors")


class Surprise:
    def __reduce__(self):
        return (print, ("this code must not run",))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"no weights at all", "is not a file of weights|could run code"),
        (b"", "is not a file of weights"),
        (None, "No such file"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_broken_files_are_refused_in_one_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_weights(tmp_path / name)
    assert "\n" not in str(error.value) and str(tmp_path / name) in str(error.value)


def test_no_code_of_a_file_runs(tmp_path, capsys):
    torch.save({"a": Surprise()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="could run code"):
        read_weights(tmp_path / "w.pth")
    assert capsys.readouterr().out == ""
    torch.save({"a": 1}, tmp_path / "n.pth")
    with pytest.raises(ValueError, match="no dictionary of tensors"):
        read_weights(tmp_path / "n.pth")


def test_what_does_not_fit_is_named():
    state = network().state_dict()
    target = network()
    with pytest.raises(ValueError, match=r"w.pth: the network has no weight '3.weigth'; did you"):
        load_weights(target, state | {"3.weigth": torch.ones(1)}, "w.pth")
    with pytest.raises(ValueError, match=r"'0.weight' has the shape \(4, 1, 3, 3\)"):
        load_weights(target, state | {"0.weight": torch.ones(4, 1, 3, 3)}, "w.pth")
    missing = {name: value for name, value in state.items() if name != "1.bias"}
    with pytest.raises(ValueError, match=r"weight '1\.bias' is missing"):
        load_weights(target, missing, "w.pth")


def test_weights_of_another_architecture_are_called_so():
    other = {f"layer{k}.weight": torch.ones(1) for k in range(3)}
    with pytest.raises(ValueError, match="has 0 of the file's 3 weights: these are weights of an"):
        load_weights(network(), other, "w.pth")


def test_another_head_is_left_out():
    state = network().state_dict() | {"3.weight": torch.ones(9, 8), "3.bias": torch.ones(9)}
    state["0.bias"] = torch.tensor([7.0, 8.0])
    target = network()
    head = target[3].weight.clone()
    with pytest.raises(ValueError, match=r"3\.weight"):
        load_weights(target, state, "w.pth")
    load_weights(target, state, "w.pth", except_below=["3"])
    assert torch.equal(target[3].weight, head) and target[0].bias.tolist() == [7, 8]


def test_environment_variables_in_the_path(tmp_path, monkeypatch):
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    monkeypatch.setenv("MY_WEIGHTS", str(tmp_path))
    assert read_weights("$MY_WEIGHTS/w.safetensors")["a"].tolist() == [1, 1]
    monkeypatch.delenv("MY_WEIGHTS")
    with pytest.raises(ValueError, match=r"set the environment variable .MY_WEIGHTS"):
        read_weights("$MY_WEIGHTS/w.safetensors")
