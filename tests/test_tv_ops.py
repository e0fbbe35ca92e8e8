"""ensure_torchvision: cures one failure, in a process of its own, and no other."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BROKEN_INIT = "from . import extension, registrations\nREADY = True\n"
# What torchvision's own files do where its compiled library is missing.
REGISTRATIONS = """
import torch
from . import extension
for name in {names}:
    @torch.library.register_fake(f"torchvision::{{name}}")
    def shape(dets, scores, threshold):
        return dets
"""


def run(code: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT)] if folder is None else [str(folder), str(ROOT)]
    # Without the environment's own cure (train/cpu_torchvision.py), which would act first.
    code = (
        f"import sys; sys.path[:0] = {paths!r}\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'cpu_torchvision' not in type(f).__module__]\n"
        f"{code}"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def fake_torchvision(folder: Path, registrations: str) -> Path:
    package = folder / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(BROKEN_INIT)
    (package / "extension.py").write_text("LOADS = True\n")
    (package / "registrations.py").write_text(registrations)
    return folder


@pytest.mark.parametrize("attempt_before", [False, True])
def test_missing_operators_are_declared_and_the_import_repeated(tmp_path, attempt_before):
    folder = fake_torchvision(tmp_path, REGISTRATIONS.format(names=("nms", "qnms")))
    # Somebody else's failed attempt leaves submodules behind.
    before = """
try:
    import torchvision
except RuntimeError as error:
    assert "nms does not exist" in str(error)
else:
    raise AssertionError("the fake should fail")
"""
    done = run(
        (before if attempt_before else "")
        + "from raiha_core.features.tv_ops import ensure_torchvision\n"
        + "ensure_torchvision(); ensure_torchvision()\n"
        + "import torchvision; assert torchvision.READY and torchvision.__file__.startswith(sys.path[0])\n",
        folder,
    )
    assert done.returncode == 0, done.stderr


def test_other_failures_pass_through_and_a_working_torchvision_is_left_alone(tmp_path):
    cases = {
        "unknown": (REGISTRATIONS.format(names=("unheard_of",)), "torchvision::unheard_of does not exist"),
        "other": ("raise RuntimeError('something else')", "something else"),
        "module": ("import a_package_that_is_not_there", "a_package_that_is_not_there"),
        "works": ("", None),
    }
    code = "import torch\nfrom raiha_core.features.tv_ops import ensure_torchvision\n"
    for name, (registrations, message) in cases.items():
        folder = fake_torchvision(tmp_path / name, registrations)
        code += f"""
for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
    del sys.modules[name]
sys.path.insert(0, {str(folder)!r})
try:
    ensure_torchvision()
except Exception as error:
    assert {message!r} is not None and {message!r} in str(error), error
else:
    assert {message!r} is None
assert not hasattr(torch.ops.torchvision, "nms")
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_the_real_timm_imports_and_the_core_alone_does_not_import_it():
    done = run(
        "import raiha_core.features.encoders as encoders\n"
        "assert 'timm' not in sys.modules and 'torchvision' not in sys.modules\n"
        "encoders.build_encoder('lite0')\n"
        "assert 'timm' not in sys.modules and 'torchvision' not in sys.modules\n"
        "encoders._timm()\n"
        "assert 'timm' in sys.modules\n"
    )
    assert done.returncode == 0, done.stderr
