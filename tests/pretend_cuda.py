"""A pretend CUDA device: its tensors say "cuda:0" and are computed on the CPU.

Where an operation mixes devices it raises, as CUDA would; synchronisations and float64 are counted with the
line of ours that asked for them. It shows neither kernels' numbers nor memory nor speed. It changes torch for
the whole process, so it is used in processes of its own: `run(CODE)` in tests, `install()` inside them.

Needs a C++ compiler (`available()`); the guard that torch wants is compiled once and kept.
"""

import collections
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(__file__).with_suffix(".cpp")
COMPILER = os.environ.get("CXX", "g++")
FLAGS, LIBRARIES = ("-std=c++20", "-O0", "-w", "-shared", "-fPIC"), ("-ltorch_cpu", "-lc10")
CUDA = torch.device("cuda:0")
OURS = ("raiha_core", "train", "nodes", "workflows")

# operations after which Python waits for the device
_WAITS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"),
    *("bincount", "_unique2", "unique_consecutive", "unique_dim", "repeat_interleave"),
}
# what torch refuses on CUDA in deterministic mode (`torch.use_deterministic_algorithms`, its list of errors)
_UNORDERED = {
    *("_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "_upsample_bilinear2d_aa_backward"),
    *("upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "_upsample_bicubic2d_aa_backward"),
    *("grid_sampler_2d_backward", "reflection_pad2d_backward", "replication_pad2d_backward"),
    *("kthvalue", "histc", "put_", "max_unpool2d", "avg_pool3d_backward", "max_pool3d_with_indices_backward"),
}
_INDEXED = {"index", "_unsafe_index"}
_WRITTEN = {"index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}


def available() -> str:
    """Why the device cannot be had here; "" where it can."""
    if not sys.platform.startswith("linux"):
        return "the pretend CUDA device is for Linux"
    if torch.cuda.is_available():
        return "there is a real CUDA device"
    return "" if shutil.which(COMPILER) else f"the pretend CUDA device needs a C++ compiler, '{COMPILER}'"


def build() -> Path:
    """The compiled guard; compiled again where its source or torch changed. Takes ten seconds."""
    text = SOURCE.read_bytes() + f"{torch.__version__} {FLAGS} {LIBRARIES} {torch.__file__}".encode()
    target = Path(tempfile.gettempdir()) / f"raiha_pretend_cuda_{hashlib.sha256(text).hexdigest()[:16]}.so"
    if not target.is_file():
        base = Path(torch.__file__).parent
        part = target.with_suffix(f".{os.getpid()}")
        where = [f"-I{base / 'include'}", f"-I{base / 'include' / 'torch' / 'csrc' / 'api' / 'include'}"]
        libraries = [f"-L{base / 'lib'}", f"-Wl,-rpath,{base / 'lib'}", *LIBRARIES]
        subprocess.run([COMPILER, *FLAGS, *where, str(SOURCE), *libraries, "-o", str(part)], check=True)
        part.replace(target)
    return target


def run(code: str, *arguments: str, timeout: float = 900) -> str:
    """Run Python code in a process of its own where `install` has been called. Returns: its output.

    Raises: AssertionError with what it said, where it fails.
    """
    # before torch is imported: it asks once which devices there are
    begin = f"import ctypes\nctypes.CDLL({str(build())!r}, mode=ctypes.RTLD_GLOBAL)\n"
    begin += "from tests import pretend_cuda\npretend_cuda.install()\n"
    paths = os.pathsep.join((str(ROOT), str(ROOT / "train")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    call = [sys.executable, "-c", begin + code, *arguments]
    done = subprocess.run(
        call, env=environment, capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[:9000]}"
    return done.stdout


class DeviceMixError(RuntimeError):
    """Tensors of two devices met."""


class UnorderedError(RuntimeError):
    """An operation whose sums have no fixed order, in deterministic mode."""


class Pretend(Tensor):
    """A tensor on the pretend device: `held` is where its numbers are."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Pretend":
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), dtype=held.dtype, device=CUDA, requires_grad=False
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Pretend({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _perform(func, args, kwargs or {})


class _Log:
    """What happened since `clear`: counts by what and by the lines of ours that asked for it."""

    def __init__(self) -> None:
        self.waits: collections.Counter[str] = collections.Counter()
        self.doubles: collections.Counter[str] = collections.Counter()
        self.calls = 0

    def clear(self) -> None:
        self.waits.clear()
        self.doubles.clear()
        self.calls = 0


LOG = _Log()


def _place() -> str:
    """The innermost lines of ours on the stack."""
    frame, lines = sys._getframe(2), []
    while frame is not None and len(lines) < 3:
        name = frame.f_code.co_filename
        if name.startswith(str(ROOT)) and ".venv" not in name:
            short = Path(name).relative_to(ROOT).as_posix()
            if short.split("/")[0] in OURS:
                lines.append(f"{short}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return " < ".join(lines) or "elsewhere"


def _held(x: Any) -> Any:
    return x.held if isinstance(x, Pretend) else x


def _pretend(x: Any) -> Any:
    return Pretend(x) if isinstance(x, Tensor) and not isinstance(x, Pretend) else x


def _note_doubles(out: Any, name: str) -> None:
    if any(isinstance(t, Tensor) and t.dtype == torch.float64 for t in tree_flatten(out)[0]):
        LOG.doubles[f"{name} {_place()}"] += 1


def _mixed(text: str) -> DeviceMixError:
    return DeviceMixError(f"Expected all tensors to be on the same device: {text} @ {_place()}")


def _perform(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation: as the CPU does it, where CUDA would do it at all."""
    name = func._schema.name.split("::")[-1]
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
    on_device = [x for x in tensors if isinstance(x, Pretend)]
    LOG.calls += bool(on_device)
    if name == "_to_copy":
        return _copied(func, args, kwargs)
    device = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if not on_device and (device is None or device.type != "cuda"):
        return func(*args, **kwargs)
    generator = kwargs.get("generator")
    if device is None or device.type == "cuda":
        if generator is not None and generator._cdata not in _GENERATORS:
            raise _mixed(f"{name}: a generator of the CPU for a tensor of the device")
        _check_mix(name, args, tensors, on_device)
        _check_order(name, on_device)
    _note_waits(name, args)
    plain = {k: ("cpu" if k == "device" and v is not None else v) for k, v in kwargs.items()}
    out = func(*tree_map(_held, args), **tree_map(_held, plain))
    if device is not None and device.type != "cuda":
        return out
    _note_doubles(out, name)
    in_place = name.endswith("_") and not name.endswith("__")
    first = args[0] if args else None
    if in_place and isinstance(first, Pretend) and isinstance(out, Tensor) and out.shape == first.shape:
        return first
    return tree_map(_pretend, out)


def _copied(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    source, device = args[0], kwargs.get("device")
    plain = {k: v for k, v in kwargs.items() if k not in ("device", "non_blocking")}
    out = func(_held(source), **plain)
    target = source.device if device is None else torch.device(device)
    if target.type == "cuda":
        _note_doubles(out, "_to_copy")
        return Pretend(out)
    if isinstance(source, Pretend):
        LOG.waits[f"to the CPU {_place()}"] += 1
    return out


def _check_mix(name: str, args: Any, tensors: list[Tensor], on_device: list[Pretend]) -> None:
    """Raises: DeviceMixError where CUDA would refuse. Scalars, indices and copies may come from the CPU."""
    strange = [x for x in tensors if not isinstance(x, Pretend)]
    if not strange or not on_device or name in ("copy_", "set_", "resize_") or name.startswith("_foreach"):
        return
    if name in _INDEXED:
        if not isinstance(args[0], Pretend):
            raise _mixed(f"{name}: an index of the device into a tensor of the CPU")
    elif name in _WRITTEN:
        if not isinstance(args[0], Pretend):
            raise _mixed(f"{name}: a tensor of the CPU written by one of the device")
        if not isinstance(args[2], Pretend) and args[2].dim() > 0:
            raise _mixed(f"{name}: values of the CPU into a tensor of the device")
    elif shapes := [tuple(x.shape) for x in strange if x.dim() > 0]:
        raise _mixed(f"{name}: tensors of the CPU {shapes} with a tensor of the device")
    elif name.endswith("_") and not isinstance(args[0], Pretend):
        raise _mixed(f"{name}: a scalar of the CPU changed by a tensor of the device")


def _check_order(name: str, on_device: list[Pretend]) -> None:
    """Raises: UnorderedError where CUDA refuses an operation in deterministic mode."""
    if not on_device or not torch.are_deterministic_algorithms_enabled():
        return
    if name in _UNORDERED or (name == "cumsum" and on_device[0].is_floating_point()):
        raise UnorderedError(f"{name} does not have a deterministic implementation @ {_place()}")


def _note_waits(name: str, args: Any) -> None:
    """Count what Python waits for: answers that it reads, sizes that depend on values, copies."""
    if name == "copy_":
        if isinstance(args[1], Pretend) and not isinstance(args[0], Pretend):
            LOG.waits[f"copy to the CPU {_place()}"] += 1
        return
    if name in _WAITS:
        LOG.waits[f"{name} {_place()}"] += 1
    if name in _INDEXED | _WRITTEN:
        places = [x for x in args[1] if x is not None]
        if any(x.dtype in (torch.bool, torch.uint8) for x in places):
            LOG.waits[f"{name} by a mask {_place()}"] += 1
        elif any(not isinstance(x, Pretend) for x in places):
            LOG.waits[f"{name} by an index of the CPU {_place()}"] += 1


class _Mode(TorchDispatchMode):
    """Hands every operation to `_perform`; as the mode of fake tensors, which torch's own guards respect."""

    def __init__(self) -> None:
        super().__init__()
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _perform(func, args, kwargs or {})


_REAL_GENERATOR = torch.Generator
_GENERATORS: dict[
    int, torch.Generator
] = {}  # those of the device, by address: kept alive, so it stays theirs


class _Generator:
    """Makes torch's own; a class, as annotations name it."""

    def __new__(cls, device: Any = "cpu") -> torch.Generator:  # type: ignore[misc]
        made = _REAL_GENERATOR()
        if torch.device(device).type == "cuda":
            _GENERATORS[made._cdata] = made  # type: ignore[attr-defined]
        return made


def install() -> None:
    """Make `torch.device("cuda:0")` usable in this process, which loaded the guard before torch, for good."""
    import torch._dynamo
    import torch.distributed.tensor

    torch.inference_mode = torch.no_grad  # type: ignore[misc,assignment]
    torch._C._set_only_lift_cpu_tensors(True)
    torch.Generator = _Generator  # type: ignore[misc,assignment]
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._ensureCUDADeviceGuardSet()


@contextmanager
def pretending() -> Iterator[_Log]:
    """Work on the device inside the block, threads that begin there too. Yields: the log, cleared."""
    LOG.clear()
    plain = threading.Thread.run

    def run_there(thread: threading.Thread) -> None:
        torch._C._set_only_lift_cpu_tensors(True)  # each thread's own
        with _Mode():
            plain(thread)

    threading.Thread.run = run_there  # type: ignore[method-assign]
    try:
        with _Mode():
            yield LOG
    finally:
        threading.Thread.run = plain  # type: ignore[method-assign]
