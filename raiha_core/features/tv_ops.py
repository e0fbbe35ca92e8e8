"""Lets timm be imported where torchvision's compiled operators are missing.

timm imports torchvision for its transforms. The registry's torchvision wheel is built for CUDA; beside a
CPU build of torch its library does not load, and `import torchvision` then fails while it registers
shapes for detection operators that nobody defined ("operator torchvision::nms does not exist"). Raiha
uses none of these operators. So, only after that very failure, their signatures are declared, without
code: torchvision imports, and calling one of them still fails with torchvision's own message.
"""

import importlib
import re
import sys
import threading

import torch

# The operators that torchvision gives a shape function to without asking whether they exist
# (torchvision/_meta_registrations.py; `qnms` since 0.28). Signatures as in its C++ sources.
_SIGNATURES = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
_lock = threading.Lock()


def ensure_torchvision() -> None:
    """Make `import torchvision`, and with it `import timm`, work; call it just before importing timm.

    Does nothing where torchvision imports as it is. The declared operators stay for the process.
    Raises: whatever importing torchvision raises for any other reason, unchanged.
    """
    with _lock:
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            found = _MISSING.search(str(error))
            if found is None or found[1] not in _SIGNATURES:
                raise
            _forget_half_imported()
            _declare_missing()
            importlib.import_module("torchvision")


def _forget_half_imported() -> None:
    # Python drops the package that failed but keeps its submodules, whose top level must run again.
    for name in [n for n in sys.modules if n.startswith("torchvision.")]:
        del sys.modules[name]


def _declare_missing() -> None:
    for name, signature in _SIGNATURES.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", signature)
