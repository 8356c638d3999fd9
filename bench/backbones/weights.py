"""Weights of a network from a file that a user names."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from legible.bench.errors import nearest, one_line, reason_of

#: Keys under which training programs keep the weights inside a larger file.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
#: What wrappers of a model put before the names of its weights.
_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "backbone.")


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a file of torch.save that holds tensors alone.

    Environment variables in the path are replaced. A dictionary inside a larger file
    (``state_dict``) is found, a prefix of all names (``module.``) is dropped, and half precision
    becomes float32. Raises ValueError with one line.
    """
    path = Path(os.path.expandvars(path)).expanduser()
    if "$" in path.parts[0]:
        raise ValueError(f"{path}: set the environment variable {path.parts[0]}")
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise ValueError(f"{path}: {reason_of(error)}") from error
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: is not a file of weights: {one_line(error)}") from error
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: holds more than tensors, which is not loaded because it could run code: save "
            "it with torch.save(network.state_dict(), ...)"
        ) from error
    return _tensors(path, state)


def _tensors(path: Path, state: Any) -> dict[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path}: holds no dictionary of tensors")
    tensors = {str(name): value for name, value in state.items()}
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    half = (torch.float16, torch.bfloat16)
    return {name: v.float() if v.dtype in half else v for name, v in tensors.items()}


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], label: str, except_below: Sequence[str] = ()
) -> None:
    """Loads weights into a network, in place. ``label`` names the file in messages.

    Tensors of the modules ``except_below`` (the head) are left out where their shapes differ.
    Raises ValueError with the first weight that is missing, unknown (with the nearest name), or of
    another shape, and for weights of which most are unknown.
    """
    own = network.state_dict()
    head = tuple(f"{module}." for module in except_below)
    fits = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    if 2 * (count := sum(name in own for name in state)) < len(state):
        raise ValueError(
            f"{label}: the network has {count} of the file's {len(state)} weights: these are "
            "weights of another architecture"
        )
    for name, value in state.items():
        if name not in own:
            raise ValueError(f"{label}: the network has no weight '{name}'{nearest(name, own)}")
        if name not in fits and not name.startswith(head):
            raise ValueError(
                f"{label}: '{name}' has the shape {tuple(value.shape)}, the network's has "
                f"{tuple(own[name].shape)}"
            )
    for name in own:
        counter = name.endswith("num_batches_tracked")
        if name not in state and not name.startswith(head) and not counter:
            raise ValueError(f"{label}: the network's weight '{name}' is missing")
    network.load_state_dict(fits, strict=False)


def weights_digest(path: Path | str) -> str:
    """A hash of the names and values of a file's tensors, the same for every file format."""
    digest = hashlib.sha256()
    for name, value in sorted(read_weights(path).items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
