"""Hostile and clumsy plugins: the text of each, and what must happen to a suite that uses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["method", "metric", "dataset", "backbone"]
#: "failed": its own runs, or for a metric its own scores, fail with a reason. "harmless": its runs
#: are done. "refused": the file is not loaded. In each case nothing else changes.
Outcome = Literal["failed", "harmless", "refused"]


class HostilePlugin(NamedTuple):
    """A plugin that does harm: its file is ``name``.py and registers ``name``.

    ``reason`` is a part of the reason that a failed run, a failed score or a refusal must give.
    ``slow`` marks one that uses up a limit of time or memory, or much of the disk.
    """

    name: str
    kind: Kind
    text: str
    outcome: Outcome
    reason: str = ""
    slow: bool = False


IMPORTS = """
import ctypes, os, random, signal, subprocess, sys, threading, time, warnings
import torch
from torch.nn import functional
"""

METHOD = '''
from legible import Method, register

class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")

@register
class Hostile(Method):
    """Does harm in one hook."""

    def {hook}:
        {body}
'''

METRIC = '''
from legible import Layer, Probe, metric

@metric(aspect="task", better="higher", per="{per}")
def {name}({arguments}):
    """Does harm."""
    {body}
'''

DATASET = '''
import torch
from pathlib import Path
from legible import dataset
from legible.bench.data.base import Dataset, make_splits

@dataset
def {name}(root: Path):
    """Does harm."""
    generator = torch.Generator().manual_seed(0)
    def part(count):
        images = torch.randint(0, 255, (count, 1, 16, 16), generator=generator, dtype=torch.uint8)
        return images, torch.arange(count) % 3, None
    {body}
    parts = {{"train": part(32), "validation": part(16), "test": part(16)}}
    return Dataset("{name}", ("a", "b", "c"), **make_splits(parts, 3))
'''

BACKBONE = '''
from legible import backbone
from legible.bench.backbones.vgg import vgg

@backbone
def {name}(image: tuple[int, int, int], classes: int):
    """Does harm."""
    {body}
    return vgg(image, classes, width=4, stages=2)
'''

#: The arguments of each hook of a method, and what it returns when it does nothing.
HOOKS = {
    "__init__": ("self, strength: float = 1.0", "super().__init__(strength)"),
    "training_data": ("self, data", "return data"),
    "attach": ("self, network, data", "super().attach(network, data)"),
    "penalty": ("self, step", "return {}"),
    "after_step": ("self, step", "return None"),
    "start_epoch": ("self, network, data, epoch", "return None"),
    "parameter_groups": ("self", "return []"),
    "after_training": ("self, network, data", "return None"),
    "partition": ("self, network", "return {}"),
    "used_concepts": ("self", "return ()"),
}

#: What each kind of metric receives.
PER = {"layer, probe": "unit", "network, probe": "network", "first, second": "pair",
       "mine, theirs": "pair", "train, test": "pair"}  # fmt: skip


def method(
    name: str, hook: str, body: str, outcome: Outcome, reason: str = "", slow: bool = False
) -> HostilePlugin:
    """A method that does something at the start of a hook."""
    arguments, end = HOOKS[hook]
    text = METHOD.format(hook=f"{hook}({arguments})", body=f"{body}\n        {end}")
    return HostilePlugin(name, "method", IMPORTS + text, outcome, reason, slow)


def metric(
    name: str, arguments: str, body: str, outcome: Outcome, reason: str = "", slow: bool = False
) -> HostilePlugin:
    """A metric of the aspect "task" that does something."""
    per = PER.get(arguments, "network")
    text = METRIC.format(name=name, arguments=arguments, body=body, per=per)
    return HostilePlugin(name, "metric", IMPORTS + text, outcome, reason, slow)


def dataset(name: str, body: str, outcome: Outcome, reason: str = "") -> HostilePlugin:
    """A dataset whose loader does something."""
    text = DATASET.format(name=name, body=body)
    return HostilePlugin(name, "dataset", IMPORTS + text, outcome, reason)


def backbone(name: str, body: str, outcome: Outcome, reason: str = "") -> HostilePlugin:
    """A backbone whose builder does something."""
    text = BACKBONE.format(name=name, body=body)
    return HostilePlugin(name, "backbone", IMPORTS + text, outcome, reason)


def at_import(name: str, lines: str, outcome: Outcome, reason: str = "") -> HostilePlugin:
    """A harmless method in a file that does something when it is imported."""
    plugin = method(name, "penalty", "pass", outcome, reason)
    return plugin._replace(text=IMPORTS + lines + "\n" + plugin.text.removeprefix(IMPORTS))


def hostile_plugins() -> list[HostilePlugin]:
    """All of them."""
    plugins = [*leaving(), *raising(), *writing(), *wrong_values(), *changing_state(),
               *importing(), *metrics(), *datasets_and_backbones(), *using_up()]  # fmt: skip
    names = [plugin.name for plugin in plugins]
    assert len(set(names)) == len(names)
    return plugins


def leaving() -> Iterator[HostilePlugin]:
    """Methods that end the process, or try to."""
    dead = "its worker"
    yield method("exit_init", "__init__", "sys.exit(0)", "failed", "SystemExit")
    yield method("exit_attach", "attach", "sys.exit(0)", "failed", "in attach of method")
    yield method("exit_penalty", "penalty", "sys.exit('bye')", "failed", "in penalty of method")
    yield method("leave_init", "__init__", "os._exit(0)", "failed", "exit code 0")
    yield method("leave_penalty", "penalty", "os._exit(0)", "failed", dead)
    yield method("leave_after_training", "after_training", "os._exit(3)", "failed", "exit code 3")
    yield method("leave_partition", "partition", "os._exit(0)", "failed", dead)
    yield method("leave_used_concepts", "used_concepts", "os._exit(0)", "failed", dead)
    yield method("abort_penalty", "penalty", "os.abort()", "failed", "SIGABRT")
    yield method("abort_init", "__init__", "os.abort()", "failed", "SIGABRT")
    yield method("crash_start_epoch", "start_epoch", "ctypes.string_at(0)", "failed", "SIGSEGV")
    yield method("crash_partition", "partition", "ctypes.string_at(0)", "failed", "SIGSEGV")
    yield method("kill_after_step", "after_step", "os.kill(os.getpid(), 9)", "failed", "SIGKILL")
    yield method("alarm_penalty", "penalty", "signal.setitimer(signal.ITIMER_REAL, .001); "
                 "time.sleep(9)", "failed", "SIGALRM")  # fmt: skip
    yield method("terminate_partition", "partition", "os.kill(os.getpid(), signal.SIGTERM)",
                 "failed", dead)  # fmt: skip
    yield method("interrupt_attach", "attach", "raise KeyboardInterrupt", "failed",
                 "in attach of method")  # fmt: skip
    yield method("interrupt_init", "__init__", "raise KeyboardInterrupt", "failed",
                 "KeyboardInterrupt")  # fmt: skip
    yield method("interrupt_penalty", "penalty", "raise KeyboardInterrupt", "failed",
                 "in penalty of method")  # fmt: skip
    yield method("generator_exit_step", "after_step", "raise GeneratorExit", "failed",
                 "in after_step of method")  # fmt: skip
    yield method("generator_exit_groups", "parameter_groups", "raise GeneratorExit", "failed",
                 "in parameter_groups of method")  # fmt: skip
    yield method("forks_penalty", "penalty", "os.fork()", "harmless")
    yield method("forks_and_leaves", "penalty", "os.fork() and os._exit(0)", "failed", dead)
    yield method("forks_sleeper", "attach", "os.fork() or time.sleep(3600)", "harmless")
    yield method("forks_daemon", "attach",
                 "os.fork() or (os.setsid(), os.fork(), time.sleep(3600))", "harmless")  # fmt: skip
    yield method("starts_process", "penalty", "self.taps and subprocess.Popen(['sleep', '3600'])",
                 "harmless")  # fmt: skip
    thread = "threading.Thread(target=time.sleep, args=(3600,)).start()"
    yield method("starts_thread", "attach", thread, "harmless")
    yield method("closes_stdout", "penalty", "sys.stdout.close(); sys.stderr.close()", "harmless")
    yield method("closes_descriptors", "penalty", "os.closerange(1, 3)", "harmless")
    yield method("closes_and_goes_on", "penalty", "os.closerange(3, 999); time.sleep(60)",
                 "failed", "SIGKILL")  # fmt: skip
    yield method("no_stdout", "attach", "sys.stdout = sys.stderr = None", "harmless")


def raising() -> Iterator[HostilePlugin]:
    """Methods that raise an error, one for each hook, and errors that are hard to show."""
    yield method("raise_init", "__init__", "raise OSError('no file')", "failed", "OSError: no file")
    for hook in list(HOOKS)[1:]:
        yield method(f"raise_{hook}", hook, "raise OSError('no file')", "failed",
                     f"in {hook} of method 'raise_{hook}': OSError: no file")  # fmt: skip
    yield method("unprintable_penalty", "penalty", "raise Unprintable", "failed",
                 "in penalty of method 'unprintable_penalty': Unprintable")  # fmt: skip
    yield method("unprintable_init", "__init__", "raise Unprintable", "failed", "Unprintable")
    yield method("long_error", "penalty", "raise ValueError('x' * 10_000_000)", "failed", "xxx")
    yield method("long_error_partition", "partition", "raise ValueError('x' * 10_000_000)",
                 "failed", "in partition of method")  # fmt: skip
    yield method("control_characters", "attach", r"raise ValueError('\x1b[2J\x00a\nb\r\ud800')",
                 "failed", "in attach of method")  # fmt: skip
    yield method("formula_error", "penalty", "raise ValueError('=1+1')", "failed", "=1+1")
    yield method("recursion", "penalty", "self.penalty(step)", "failed", "RecursionError")
    yield method("recursion_partition", "partition", "self.partition(network)", "failed",
                 "RecursionError")  # fmt: skip
    yield method("prints", "penalty", "print('x' * 100_000)", "harmless")
    yield method("memory_error", "penalty", "raise MemoryError", "failed", "in penalty of method")
    yield method("stop_iteration", "penalty", "next(iter(()))", "failed", "StopIteration")


def writing() -> Iterator[HostilePlugin]:
    """Methods that write into the dataset."""
    changed = "changes the dataset"
    yield method("writes_images_attach", "attach", "data.images.zero_()", "failed", changed)
    yield method("writes_labels_attach", "attach", "data.labels.zero_()", "failed", changed)
    yield method("writes_mean_attach", "attach", "data.mean.fill_(.5)", "failed", changed)
    yield method("writes_std_epoch", "start_epoch", "data.std.mul_(2)", "failed", changed)
    yield method("writes_images_epoch", "start_epoch", "data.images.zero_()", "failed", changed)
    yield method("writes_images_data", "training_data", "data.images.zero_()", "failed", changed)
    yield method("writes_labels_after", "after_training", "data.labels.zero_()", "failed", changed)
    yield method("writes_masks", "attach", "data.concepts.packed.zero_()", "failed", changed)
    yield method("writes_storage", "attach", "data.images.untyped_storage().fill_(0)", "failed",
                 changed)  # fmt: skip
    yield method("resizes_labels", "attach", "data.labels.resize_(0)", "failed")
    yield method("writes_batch", "penalty", "step.images.zero_(); step.labels.zero_()", "failed")


def wrong_values() -> Iterator[HostilePlugin]:
    """Methods whose hooks return what they must not, and networks that end badly."""
    yield method("penalty_list", "penalty", "return [1]", "failed", "in penalty of method")
    yield method("penalty_none", "penalty", "return None", "failed", "in penalty of method")
    yield method("penalty_text", "penalty", "return {'a': 'b'}", "failed")
    yield method("penalty_nan", "penalty", "return {'a': torch.tensor(float('nan'))}", "failed",
                 "not finite")  # fmt: skip
    yield method("penalty_vector", "penalty", "return {'a': torch.ones(3)}", "failed")
    yield method("data_none", "training_data", "return None", "failed")
    yield method("groups_text", "parameter_groups", "return ['a']", "failed")
    yield method("partition_list", "partition", "return [1, 2]", "failed")
    yield method("partition_text", "partition", "return {'features.0': 'a'}", "harmless")
    yield method("concepts_number", "used_concepts", "return 3", "failed")
    yield method("nan_weights", "after_training",
                 "[p.data.fill_(float('nan')) for p in network.parameters()]", "failed",
                 "not finite")  # fmt: skip
    yield method("infinite_weights", "after_training",
                 "[p.data.fill_(float('inf')) for p in network.parameters()]", "failed",
                 "not finite")  # fmt: skip
    yield method("huge_weights", "after_training",
                 "[p.data.fill_(1e30) for p in network.parameters()]", "harmless")  # fmt: skip
    yield method("changing_state_dict", "attach",
                 "self.register_buffer('b', torch.zeros(int(time.time_ns() % 10**6)))", "failed",
                 "size mismatch")  # fmt: skip
    yield method("no_weights", "after_training", "network.state_dict = lambda *a, **k: {}",
                 "failed", "issing key")  # fmt: skip
    yield method("no_taps", "after_training", "network.taps.clear()", "harmless")


#: Settings of the process, and the lines that change them.
STATE = {
    "threads": "torch.set_num_threads(8)",
    "default_dtype": "torch.set_default_dtype(torch.float64)",
    "default_device": "torch.set_default_device('meta')",
    "grad_off": "torch._C._set_grad_enabled(False)",
    "deterministic": "torch.use_deterministic_algorithms(True)",
    "mkldnn_off": "torch.backends.mkldnn.set_flags(False)",
    "autocast_on": "torch.autocast('cpu', torch.bfloat16).__enter__()",
    "matmul": "torch.set_float32_matmul_precision('medium')",
    "denormals": "torch.set_flush_denormal(True)",
    "chdir": "os.chdir('/')",
    "umask": "os.umask(0o777)",
    "random": "torch.manual_seed(7); random.seed(7)",
    "signals": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "streams": "sys.stdout = sys.stderr = open(os.devnull, 'w')",
    "warnings": "warnings.simplefilter('error')",
    "environment": "os.environ.clear()",
    "relu": "functional.relu = lambda x, *a, **k: x * 0",
    "cross_entropy": "functional.cross_entropy = lambda *a, **k: a[0].sum()",
    "topk": "torch.topk = None",
    "mean": "torch.Tensor.mean = lambda *a, **k: 1 / 0",
    "recursion_limit": "sys.setrecursionlimit(80)",
    "modules": "[sys.modules.pop(n) for n in list(sys.modules) if n.startswith('legible.met')]",
}
#: Those that make the plugin's own run fail.
OWN_FAULT = ("default_dtype_attach", "default_device_start_epoch", "mean_attach",
             "default_dtype_init", "grad_off_init", "mean_init")  # fmt: skip


def changing_state() -> Iterator[HostilePlugin]:
    """Methods that change the state of the process, while training and in the constructor."""
    hooks = ["penalty", "attach", "start_epoch", "after_step", "after_training", "partition"]
    for number, (name, line) in enumerate(STATE.items()):
        hook = hooks[number % len(hooks)]
        outcome: Outcome = "failed" if f"{name}_{hook}" in OWN_FAULT else "harmless"
        yield method(f"{name}_{hook}", hook, line, outcome)
    for name in ("threads", "default_dtype", "grad_off", "chdir", "random", "relu", "mean"):
        outcome = "failed" if f"{name}_init" in OWN_FAULT else "harmless"
        yield method(f"{name}_init", "__init__", STATE[name], outcome)


def importing() -> Iterator[HostilePlugin]:
    """Files that do harm when they are imported."""
    for name in ("threads", "default_dtype", "default_device", "grad_off", "deterministic",
                 "mkldnn_off", "autocast_on", "chdir", "umask", "random", "signals", "streams",
                 "warnings", "environment", "recursion_limit"):  # fmt: skip
        yield at_import(f"{name}_import", STATE[name], "harmless")
    for name, place in (("relu", "torch.nn.functional.relu"), ("topk", "torch.topk"),
                        ("cross_entropy", "torch.nn.functional.cross_entropy"),
                        ("mean", "torch.Tensor.mean")):  # fmt: skip
        yield at_import(f"{name}_import", STATE[name], "refused", place)
    yield at_import("patches_legible", "import legible.bench.training.loop as loop\n"
                    "loop.accuracy = lambda *a: 1.0", "refused", "loop.accuracy")  # fmt: skip
    yield at_import("removes_metric", "from legible.metrics.base import METRICS\n"
                    "METRICS.pop('accuracy')", "refused", "accuracy")  # fmt: skip
    yield at_import("exits_import", "sys.exit(0)", "refused", "SystemExit")
    yield at_import("leaves_import", "os._exit(0)", "refused", "exit code 0")
    yield at_import("aborts_import", "os.abort()", "refused", "SIGABRT")
    yield at_import("interrupts_import", "raise KeyboardInterrupt", "refused", "KeyboardInterrupt")
    yield at_import("unprintable_import", "class E(Exception):\n    def __str__(self): raise self\n"
                    "raise E", "refused", "E: (the error")  # fmt: skip
    yield at_import("long_import", "raise ValueError('x' * 10_000_000)", "refused", "xxx")
    yield method("long_label", "penalty", "pass", "refused", "label has 300 characters")._replace(
        text=IMPORTS + METHOD.format(hook="penalty(self, step)", body="return {}").replace(
            '    def penalty', f'    label = "{"l" * 300}"\n\n    def penalty'))  # fmt: skip


def metrics() -> Iterator[HostilePlugin]:
    """Metrics; each is computed on every run of the suite."""
    layer, network = "layer, probe", "network, probe"
    zeros = "probe.labels.zero_(); probe.logits.zero_(); probe.images.zero_()"
    one = "; return torch.tensor(1.0)"
    yield metric("a_zeros_labels", network, zeros + one, "harmless")
    yield metric("a_zeros_activations", layer,
                 "layer.activation.zero_(); return layer.pooled.mean(0)", "harmless")  # fmt: skip
    yield metric("zeros_weights", network,
                 "[p.data.zero_() for p in network.parameters()]" + one, "harmless")  # fmt: skip
    yield metric("fills_memo", layer, "probe.memo.clear(); layer.memo.clear()\n"
                 "    return layer.pooled.mean(0)", "harmless")  # fmt: skip
    for name in ("threads", "default_dtype", "grad_off", "chdir", "mkldnn_off", "relu", "umask"):
        yield metric(f"metric_{name}", network, STATE[name] + one, "harmless")
    yield metric("metric_raises", network, "raise OSError('no file')", "failed", "OSError: no file")
    yield metric("metric_exits", network, "sys.exit(0)", "failed", "SystemExit")
    yield metric("metric_leaves", network, "os._exit(0)", "failed", "exit code 0")
    yield metric("metric_aborts", network, "os.abort()", "failed", "SIGABRT")
    yield metric("metric_crashes", layer, "ctypes.string_at(0)", "failed", "SIGSEGV")
    yield metric("metric_interrupts", network, "raise KeyboardInterrupt", "failed",
                 "KeyboardInterrupt")  # fmt: skip
    yield metric("metric_long_error", network, "raise ValueError('x' * 10_000_000)", "failed", "xx")
    yield metric("metric_forks", network, "os.fork()" + one, "harmless")
    yield metric("metric_ten_million", network, "return torch.ones(10_000_000)", "failed",
                 "10000000 values")  # fmt: skip
    yield metric("metric_matrix", layer, "return torch.ones(3, layer.units)", "failed", "values")
    yield metric("metric_text", network, "return 'a'", "failed")
    yield metric("metric_none", network, "return None", "failed")
    yield metric("metric_nan", network, "return torch.tensor(float('nan'))", "harmless")
    yield metric("metric_infinite", network, "return torch.tensor(float('inf'))", "harmless")
    yield metric("metric_huge", network, "return torch.tensor(1e308, dtype=torch.float64)",
                 "failed", "1e+308")  # fmt: skip
    yield metric("metric_empty", network, "return torch.ones(0)", "harmless")
    yield metric("metric_one_argument", "layer", "return 1.0", "refused", "arguments")
    yield metric("metric_no_argument", "", "return 1.0", "refused", "first argument")
    yield metric("metric_wrong_argument", "lay, probe", "return 1.0", "refused", "first argument")
    yield metric("metric_three_arguments", "layer, probe, more", "return 1.0", "refused",
                 "arguments")  # fmt: skip
    yield metric("pair_raises", "first, second", "raise OSError('no file')", "failed", "no file")
    yield metric("pair_zeros", "train, test", "train.activation.zero_(); test.activation.zero_()\n"
                 "    return 1.0", "harmless")  # fmt: skip


def datasets_and_backbones() -> Iterator[HostilePlugin]:
    """Datasets and backbones; each is the only one of its block."""
    yield dataset("data_raises", "raise OSError('no file')", "failed", "no file")
    yield dataset("data_exits", "sys.exit(0)", "failed", "SystemExit")
    yield dataset("data_leaves", "os._exit(0)", "failed", "exit code 0")
    yield dataset("data_crashes", "ctypes.string_at(0)", "failed", "SIGSEGV")
    yield dataset("data_threads", STATE["threads"], "harmless")
    yield dataset("data_chdir", STATE["chdir"], "harmless")
    yield dataset("data_dtype", "torch.set_default_dtype(torch.float64)", "harmless")
    yield backbone("net_raises", "raise OSError('no file')", "failed", "no file")
    yield backbone("net_exits", "sys.exit(0)", "failed", "SystemExit")
    yield backbone("net_leaves", "os._exit(0)", "failed", "exit code 0")
    yield backbone("net_crashes", "ctypes.string_at(0)", "failed", "SIGSEGV")
    yield backbone("net_none", "return None", "failed", "net_none")
    yield backbone("net_grad_off", STATE["grad_off"], "failed")
    yield backbone("net_threads", STATE["threads"], "harmless")


def using_up() -> Iterator[HostilePlugin]:
    """Plugins that use up the limit of time or memory."""
    over_time, over_memory = "time limit", "memory limit"
    forever = "while True: time.sleep(1)"
    yield method("hangs_penalty", "penalty", forever, "failed", over_time, slow=True)
    yield method("hangs_init", "__init__", forever, "failed", over_time, slow=True)
    yield method("hangs_busy", "attach", "while True: pass", "failed", over_time, slow=True)
    yield method("hangs_deaf", "penalty", "signal.pthread_sigmask(0, signal.valid_signals())\n"
                 f"        {forever}", "failed", over_time, slow=True)  # fmt: skip
    yield method("hangs_partition", "partition", forever, "failed", over_time, slow=True)
    yield metric("metric_hangs", "network, probe", forever, "failed", over_time, slow=True)
    yield method("eats_memory", "penalty",
                 "self.eaten = [torch.ones(2**24) for _ in range(2**10)]", "failed", over_memory,
                 slow=True)  # fmt: skip
    yield method("eats_memory_slowly", "attach",
                 "self.eaten = [time.sleep(.02) or b'x' * 2**25 for _ in range(2**12)]",
                 "failed", over_memory, slow=True)  # fmt: skip
    yield metric("metric_eats_memory", "network, probe",
                 "return [torch.ones(2**24) for _ in range(2**10)]", "failed", over_memory,
                 slow=True)  # fmt: skip
