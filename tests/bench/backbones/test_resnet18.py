"""ResNet-18: torchvision's weights and outputs, with Taps."""

import pytest
import torch
import torchvision

from legible.bench.backbones.resnet18 import resnet18


def test_a_skip_connection_is_an_edge_without_a_weight():
    taps = resnet18((1, 32, 32), 5, width=4).taps
    assert [edge.weight is None for edge in taps["stem"].outgoing] == [False, True]
    downsampled = taps["layer1.1"].outgoing
    assert [edge.weight.kernel_size for edge in downsampled] == [(3, 3), (1, 1)]


def test_resnet_has_torchvisions_keys_and_outputs():
    theirs = torchvision.models.resnet18(num_classes=7).eval()
    ours = resnet18((3, 64, 64), 7, stem="standard").eval()
    ours.backbone.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours(x).logits, theirs(x))


def test_local_weights_are_loaded_and_checked(tmp_path):
    theirs = torchvision.models.resnet18(num_classes=7)
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    ours = resnet18((3, 64, 64), 3, stem="standard", weights=str(tmp_path / "weights.pt"))
    assert torch.equal(ours.backbone.layer1[0].conv1.weight, theirs.layer1[0].conv1.weight)
    with pytest.raises(ValueError, match="has the shape"):
        resnet18((3, 64, 64), 3, width=8, weights=str(tmp_path / "weights.pt"))


@pytest.mark.parametrize(("stages", "side"), [(4, 4), (3, 8), (2, 16)])
def test_fewer_stages_end_in_a_finer_map(stages, side):
    taps = resnet18((3, 32, 32), 5, width=4, stages=stages).taps
    assert list(taps.values())[-1].shape == (4 * 2 ** (stages - 1), side, side)
