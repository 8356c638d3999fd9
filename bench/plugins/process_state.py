"""The settings of this process that a plugin could change: read, restored and compared."""

from __future__ import annotations

import builtins
import locale
import os
import random
import signal
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils import _device

from legible.bench.errors import UserError

# ----------------------------------------------------------------- settings


class Setting(NamedTuple):
    """A setting of the process: how it is read, and how a value is put back."""

    read: Callable[[], Any]
    restore: Callable[[Any], Any]


def _default_device() -> Any:
    mode = _device.CURRENT_DEVICE
    return None if mode is None else torch.device(mode)


def _deterministic() -> tuple[bool, bool]:
    return (torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled())  # fmt: skip


def _denormals_are_zero() -> bool:
    return float(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 0.5) == 0.0


def _umask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _cwd() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:  # it was deleted
        return None


def _set_cwd(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            with suppress(OSError, ValueError):
                signal.signal(number, handler)


def _set_environment(values: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _numpy_state() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return (name, np.asarray(keys).tobytes(), *rest)


def _set_numpy_state(state: tuple[Any, ...]) -> None:
    name, keys, *rest = state
    np.random.set_state((name, np.frombuffer(keys, np.uint32), *rest))  # noqa: NPY002


def _autocast_depth() -> int:
    torch.autocast_increment_nesting()
    return int(torch.autocast_decrement_nesting())


def _set_autocast_depth(depth: int) -> None:
    while torch.autocast_decrement_nesting() > depth:
        pass
    torch.clear_autocast_cache()  # it would be kept as long as autocast is on


def _modes() -> tuple[int, int]:
    return torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()


def _set_modes(depths: tuple[int, int]) -> None:
    while torch._C._len_torch_function_stack() > depths[0]:
        torch._C._pop_torch_function_stack()
    while torch._C._len_torch_dispatch_stack() > depths[1]:
        torch._C._pop_torch_dispatch_stack(None)


def _module_hooks() -> dict[str, dict[Any, Any]]:
    """The hooks that every module of torch calls."""
    return {name: dict(hooks) for name, hooks in vars(nn.modules.module).items()
            if name.startswith("_global_") and isinstance(hooks, dict)}  # fmt: skip


def _set_module_hooks(hooks: dict[str, dict[Any, Any]]) -> None:
    for name, items in hooks.items():
        register = getattr(nn.modules.module, name)
        register.clear()
        register.update(items)


def _autocast(device: str) -> Setting:
    def restore(value: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(device, value[0])
        torch.set_autocast_dtype(device, value[1])

    return Setting(
        lambda: (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)), restore
    )


#: Every setting by name. Those of torch come in an order in which they can be put back.
SETTINGS: dict[str, Setting] = {
    "torch's default device": Setting(_default_device, torch.set_default_device),
    "torch's modes": Setting(_modes, _set_modes),
    "torch's hooks of modules": Setting(_module_hooks, _set_module_hooks),
    "torch's default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
    "torch's number of threads": Setting(torch.get_num_threads, torch.set_num_threads),
    "torch's grad mode": Setting(torch.is_grad_enabled, torch._C._set_grad_enabled),
    "torch's inference mode": Setting(torch.is_inference_mode_enabled, lambda value: None),
    "torch's anomaly mode": Setting(torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    "torch's deterministic mode": Setting(
        _deterministic,
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    "torch's handling of denormals": Setting(_denormals_are_zero, torch.set_flush_denormal),
    "torch's matmul precision": Setting(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    "torch's use of mkldnn": Setting(
        torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled
    ),
    "torch's use of cudnn": Setting(torch._C._get_cudnn_enabled, torch._C._set_cudnn_enabled),
    "cudnn's benchmark mode": Setting(
        torch._C._get_cudnn_benchmark, torch._C._set_cudnn_benchmark
    ),
    "cudnn's deterministic mode": Setting(
        torch._C._get_cudnn_deterministic, torch._C._set_cudnn_deterministic
    ),
    "autocast": _autocast("cpu"),
    "autocast on cuda": _autocast("cuda"),
    "the depth of autocast": Setting(_autocast_depth, _set_autocast_depth),
    "the cache of autocast": Setting(
        torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled
    ),
    "torch's random numbers": Setting(
        lambda: torch.get_rng_state().numpy().tobytes(),
        lambda value: torch.set_rng_state(
            torch.frombuffer(bytearray(value), dtype=torch.uint8).clone()
        ),
    ),
    "numpy's random numbers": Setting(_numpy_state, _set_numpy_state),
    "numpy's handling of errors": Setting(np.geterr, lambda value: np.seterr(**value)),
    "Python's random numbers": Setting(random.getstate, random.setstate),
    "Python's recursion limit": Setting(sys.getrecursionlimit, sys.setrecursionlimit),
    "the working directory": Setting(_cwd, _set_cwd),
    "the umask": Setting(_umask, os.umask),
    "the environment": Setting(lambda: dict(os.environ), _set_environment),
    "the locale": Setting(
        lambda: locale.setlocale(locale.LC_ALL),
        lambda value: locale.setlocale(locale.LC_ALL, value),
    ),
    "the filters of warnings": Setting(lambda: list(warnings.filters), _set_filters),
    "standard output": Setting(
        lambda: sys.stdout, lambda value: setattr(sys, "stdout", value)
    ),
    "standard error": Setting(lambda: sys.stderr, lambda value: setattr(sys, "stderr", value)),
    "the handlers of signals": Setting(_handlers, _set_handlers),
    "the alarm clock": Setting(
        lambda: signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0),
        lambda value: signal.setitimer(signal.ITIMER_REAL, 0),
    ),
    "the signal mask": Setting(
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        lambda value: signal.pthread_sigmask(signal.SIG_SETMASK, value),
    ),
}  # fmt: skip


def read_settings() -> dict[str, Any]:
    """The present value of every setting."""
    return {name: setting.read() for name, setting in SETTINGS.items()}


def restore_settings(values: dict[str, Any]) -> list[str]:
    """Puts back the settings that have changed; returns the names of those that stay changed."""
    for name, setting in SETTINGS.items():
        if setting.read() != values[name]:
            setting.restore(values[name])
    return [name for name, setting in SETTINGS.items() if setting.read() != values[name]]


@contextmanager
def restored_settings() -> Iterator[None]:
    """A context after which every setting is as it was before.

    Raises UserError for a setting that cannot be put back.
    """
    values = read_settings()
    try:
        yield
    finally:
        stuck = restore_settings(values)
    if stuck:
        raise UserError(f"a plugin changes {stuck[0]}: leave it as it is")


# ----------------------------------------------------------------- functions

#: Modules and classes of others whose functions no plugin may replace.
_GUARDED: tuple[Any, ...] = (
    builtins, torch, functional, torch.Tensor, nn.Module, nn.init, torch.linalg, torch.optim.SGD,
    torch.optim.Adam, torch.optim.AdamW, np,
)  # fmt: skip


class FunctionPlace(NamedTuple):
    """Where a function is: an attribute of a module or class."""

    owner: Any
    attribute: str
    function: Any


def guarded_functions() -> dict[str, FunctionPlace]:
    """All functions and classes of torch, numpy, Python and Legible, by full name."""
    owners = {_full_name(owner): owner for owner in _GUARDED}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "legible":
            owners[name] = module
            for item in list(vars(module).values()):
                if isinstance(item, type) and item.__module__ == name:
                    owners[_full_name(item)] = item
    return {
        f"{name}.{key}": FunctionPlace(owner, key, item)
        for name, owner in owners.items()
        for key, item in _attributes(owner).items()
        if callable(item) or isinstance(item, property | classmethod | staticmethod)
    }


def _attributes(owner: Any) -> dict[str, Any]:
    """The attributes of a module, or of a class and its bases."""
    owners = owner.__mro__ if isinstance(owner, type) else [owner]
    return {key: item for each in reversed(owners) for key, item in list(vars(each).items())}


def _full_name(owner: Any) -> str:
    if isinstance(owner, types.ModuleType):
        return owner.__name__
    return f"{owner.__module__}.{owner.__qualname__}"


def refuse_patches(before: dict[str, FunctionPlace]) -> None:
    """Puts back all functions of `guarded_functions` that have been replaced or removed; raises
    ValueError if there is one."""
    owners = {id(place.owner): place.owner for place in before.values()}
    now = {key: _attributes(owner) for key, owner in owners.items()}
    replaced = [name for name, place in before.items()
                if now[id(place.owner)].get(place.attribute) is not place.function]  # fmt: skip
    for name in replaced:
        owner, attribute, function = before[name]
        setattr(owner, attribute, function)
    if replaced:
        raise ValueError(f"it replaces {replaced[0]}: call a function of your own instead")
