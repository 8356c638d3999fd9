"""Registration of backbones."""

import pytest

from legible.bench.backbones import base
from legible.bench.backbones import mlp as module


def test_one_name_in_two_files_is_an_error(monkeypatch):
    monkeypatch.setattr(base, "BACKBONES", {})

    def mlp(image, classes):
        raise NotImplementedError

    assert base.backbone(module.mlp) is module.mlp
    assert base.backbone(module.mlp) is module.mlp  # registering again is no error
    with pytest.raises(ValueError, match=r"backbone 'mlp' is defined in .*mlp\.py and in"):
        base.backbone(mlp)
    assert {"mlp": module.mlp} == base.BACKBONES
