"""Makes `import torchvision` work in this Python environment, beside a CPU-only torch.

    python train/cpu_torchvision.py

The registry's torchvision is built for CUDA; beside a CPU build of torch its compiled operators do not load
and importing it fails ("operator torchvision::nms does not exist"). Raiha itself gets by
(raiha_core/features/tv_ops.py), but the `accelerate` command imports timm, and with it torchvision, before
any code of ours runs. Where, and only where, that very failure happens, this puts two small files into
site-packages that declare the missing operators just before torchvision is imported. None of them is used.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

NAME = "raiha_cpu_torchvision"
MODULE = '''"""Written by Raiha's train/cpu_torchvision.py; remove it once torchvision matches torch."""

import sys


class _Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for operator in ("nms", "qnms"):
                signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                torch.library.define(f"torchvision::{operator}", signature)
        return None


sys.meta_path.insert(0, _Finder())
'''


def import_error() -> str:
    """The last line of what importing torchvision says in a fresh Python; "" where it works."""
    done = subprocess.run(
        [sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False
    )
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def install(site: Path) -> None:
    """Write the module and the line that loads it at start."""
    (site / f"{NAME}.py").write_text(MODULE, encoding="utf-8")
    (site / f"{NAME}.pth").write_text(f"import {NAME}\n", encoding="utf-8")


def main() -> int:
    error = import_error()
    if not error:
        return 0
    if "operator torchvision::" not in error:
        print(f"torchvision cannot be imported: {error}", file=sys.stderr)
        return 1
    install(Path(sysconfig.get_paths()["purelib"]))
    print("torchvision is built for CUDA and torch is not: its missing operators are now declared")
    if error := import_error():
        print(f"torchvision still cannot be imported: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
