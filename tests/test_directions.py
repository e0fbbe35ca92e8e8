"""Imports run one way (design, section 2; the table of exemplars, section 4), held over every file's AST.

Oracle: a small tree with one offence of each kind, on which the same checks must find each of them.
"""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.import_table import ALLOWED, NEWER_THAN_310, ONLY_IN, OURS_OR_THE_HOSTS, THIRD_PARTY
from tests.source_trees import ROOT, python_files, tree_of


@dataclass(frozen=True)
class Import:
    level: int  # dots
    module: str  # dotted, "" where there are only dots
    names: tuple[str, ...]  # after `import`; empty for a plain `import module`
    line: int


def imports_of(tree: ast.Module) -> Iterator[Import]:
    """Every import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(0, alias.name, (), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            yield Import(node.level, node.module or "", tuple(a.name for a in node.names), node.lineno)


def targets(core: Path, file: Path, found: Import) -> list[Path]:
    """The core's files that a relative import reads; empty where it leaves the core."""
    base = file.parent
    for _ in range(found.level - 1):
        base = base.parent
    if core != base and core not in base.parents:
        return []
    base = base.joinpath(*found.module.split(".")) if found.module else base
    if base.with_suffix(".py").is_file():
        return [base.with_suffix(".py")]
    if not base.is_dir():
        return []
    result = []
    for name in found.names:  # modules of a package, or names that its __init__ holds
        module, package = base / f"{name}.py", base / name / "__init__.py"
        result.append(module if module.is_file() else package if package.is_file() else base / "__init__.py")
    return result


def unit_of(core: Path, file: Path) -> str:
    first = file.relative_to(core).parts[0]
    return first.removesuffix(".py")


def wrong_directions(core: Path) -> list[str]:
    """Imports of the core that break the table, leave the core, or are not relative."""
    wrong = []
    for file in python_files(core):
        unit, name = unit_of(core, file), file.relative_to(core).as_posix()
        if unit not in ALLOWED:
            wrong.append(f"{name}: '{unit}' is not in the table of {Path(__file__).name}")
            continue
        for found in imports_of(tree_of(file)):
            place = f"{name}:{found.line}"
            top = found.module.split(".")[0]
            if not found.level:
                if top in OURS_OR_THE_HOSTS:
                    wrong.append(f"{place} imports {found.module}")
                elif top not in {*sys.stdlib_module_names, *THIRD_PARTY, *ONLY_IN}:
                    wrong.append(f"{place} imports {top}, which is no dependency of the core")
                elif name not in ONLY_IN.get(top, {name}):
                    wrong.append(f"{place} imports {top}")
                continue
            read = targets(core, file, found)
            if not read:
                wrong.append(f"{place} imports {'.' * found.level}{found.module}, which is not in the core")
            for target in read:
                other = unit_of(core, target)
                if other not in (unit, "__init__") and other not in ALLOWED[unit]:
                    wrong.append(f"{place} imports {other}, above or beside {unit}")
    return wrong


def cycles(core: Path) -> list[str]:
    """Files of the core that import each other in a ring."""
    graph: dict[str, set[str]] = {}
    for file in python_files(core):
        read = [t for found in imports_of(tree_of(file)) if found.level for t in targets(core, file, found)]
        # a package's __init__ that reads its own files is their front, not one of them
        graph[str(file)] = {str(t) for t in read if t != file and t.name != "__init__.py"}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" -> ".join(Path(name).relative_to(core).as_posix() for name in error.args[1])]
    return []


def prints(core: Path) -> list[str]:
    """Calls of print outside cli, where the core must be silent."""
    return [
        f"{file.relative_to(core).as_posix()}:{node.lineno}"
        for file in python_files(core)
        if unit_of(core, file) != "cli"
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def strays(root: Path) -> list[str]:
    """Imports between the three top folders that go back or across."""
    wrong = []
    for folder in ("nodes", "train", "workflows"):
        for file in python_files(root / folder):
            name = file.relative_to(root).as_posix()
            for found in imports_of(tree_of(file)):
                place, parts = f"{name}:{found.line}", found.module.split(".")
                if folder == "nodes" and not found.level and parts[0] == "raiha_core":
                    wrong.append(
                        f"{place} imports raiha_core by its absolute name: inside ComfyUI there is none"
                    )
                training = {"train", "raiha_train"}
                forbidden = {"nodes": training, "train": {"nodes", "workflows"}, "workflows": training}[
                    folder
                ]
                if name not in ("nodes/compat.py",) and folder == "nodes":
                    forbidden = {*training, "workflows"}  # compat alone falls back to our own small host
                leaves = found.level >= 2 or not found.level
                names = {parts[0]} if found.module else set(found.names)
                if leaves and names & forbidden:
                    wrong.append(f"{place} imports {sorted(names & forbidden)[0]}")
                if folder == "train" and found.level >= 1 and "raiha_core" in names:
                    wrong.append(f"{place} imports raiha_core relatively: train is run as scripts")
    return wrong


def tangled_scripts(train: Path) -> list[str]:
    """Scripts of train/ that import each other, and whatever changes where Python looks for modules."""
    scripts = {path.stem for folder in ("", "bench", "configs") for path in (train / folder).glob("*.py")}
    wrong = []
    for file in python_files(train):
        name = file.relative_to(train).as_posix()
        for found in imports_of(tree_of(file)):
            if not found.level and found.module.split(".")[0] in scripts:
                wrong.append(f"{name}:{found.line} imports the script {found.module}")
        if "sys.path" in file.read_text(encoding="utf-8"):
            wrong.append(f"{name} changes sys.path")
    return wrong


def too_new(root: Path) -> list[str]:
    """Names of the standard library that Python 3.10 lacks."""
    wrong = []
    for folder in ("raiha_core", "nodes", "train", "workflows"):
        for file in python_files(root / folder):
            for found in imports_of(tree_of(file)):
                newer = NEWER_THAN_310.get(found.module, set()) if not found.level else set()
                if "*" in newer or newer & set(found.names):
                    wrong.append(f"{file.relative_to(root).as_posix()}:{found.line} imports {found.module}")
    return wrong


def test_the_core_imports_one_way():
    core = ROOT / "raiha_core"
    assert len(python_files(core)) > 60  # the checks below really saw the project
    assert wrong_directions(core) == []


def test_no_two_files_of_the_core_import_each_other():
    assert cycles(ROOT / "raiha_core") == []


def test_the_core_is_silent():
    assert prints(ROOT / "raiha_core") == []


def test_nodes_train_and_workflows_keep_apart():
    for folder in ("nodes", "train", "workflows"):
        assert len(python_files(ROOT / folder)) > 5
    assert strays(ROOT) == []


def test_no_script_of_train_imports_another_or_changes_the_path():
    assert tangled_scripts(ROOT / "train") == []


def test_python_310_can_run_it():
    assert too_new(ROOT) == []


def test_the_table_is_one_way_itself():
    graphlib.TopologicalSorter(ALLOWED).prepare()  # raises CycleError
    assert "models" not in ALLOWED["data"]
    existing = {unit_of(ROOT / "raiha_core", file) for file in python_files(ROOT / "raiha_core")}
    assert set(ALLOWED) - existing == set()  # no entry for what is gone


@pytest.fixture
def offender(tmp_path):
    files = {
        "raiha_core/__init__.py": "",
        "raiha_core/color.py": "from . import masks\n",  # beside
        "raiha_core/masks.py": "def f():\n    from .features.spec import FeatureSpec\n",  # above
        "raiha_core/durable.py": "import raiha_core.color\nprint('hello')\n",
        "raiha_core/strange.py": "",
        "raiha_core/features/__init__.py": "",
        "raiha_core/features/spec.py": "import timm\nfrom .patches import P\n",
        "raiha_core/features/patches.py": "import pandas\nfrom . import spec\n",
        "raiha_core/features/encoders.py": "import timm\nfrom ..color import x\nimport json\n",  # right
        "raiha_core/data/__init__.py": "",
        "raiha_core/data/batch.py": "from ..models import hdnet\nfrom ...nodes import tensors\n",
        "raiha_core/models/__init__.py": "",
        "raiha_core/models/hdnet.py": "from .. import render\nfrom comfy_api import io\n",
        "raiha_core/render.py": "from . import __version__\n",  # right
        "raiha_core/cli/__init__.py": "print('the command line may')\n",  # right
        "nodes/a.py": "from raiha_core import color\nfrom ..train import loop\nfrom .. import workflows\n",
        "nodes/compat.py": "from ..workflows import host_io\n",  # right
        "train/a.py": "import nodes.tensors\nfrom workflows.host import run\nfrom raiha_core import color\n",
        "train/c.py": "import sys\nfrom a import x\nfrom .inner import y\nsys.path.append('b')\n",
        "train/raiha_train/inner.py": "from . import a\nimport b.x\n",
        "nodes/b.py": "def f():\n    from raiha_train.loop import train\n",
        "raiha_core/images.py": "import raiha_train\n",
        "train/b.py": "from ..raiha_core import color\nimport tomllib\nfrom typing import Self, Any\n",
        "workflows/a.py": "def f():\n    import train\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_each_offence_is_found(offender):
    core = offender / "raiha_core"
    assert [line.split(" ")[0] + " " + line.split(" ")[2].rstrip(",") for line in wrong_directions(core)] == [
        "color.py:1 masks",
        "data/batch.py:1 models",
        "data/batch.py:2 ...nodes",
        "durable.py:1 raiha_core.color",
        "features/patches.py:1 pandas",
        "features/spec.py:1 timm",
        "images.py:1 raiha_train",
        "masks.py:2 features",
        "models/hdnet.py:2 comfy_api",
        "strange.py: is",
    ]
    assert cycles(core)[0].count("features/patches.py") in (1, 2)
    assert prints(core) == ["durable.py:2"]
    assert [line.split(" ")[0] + " " + line.split(" ")[2] for line in strays(offender)] == [
        "nodes/a.py:1 raiha_core",
        "nodes/a.py:2 train",
        "nodes/a.py:3 workflows",
        "nodes/b.py:2 raiha_train",
        "train/a.py:1 nodes",
        "train/a.py:2 workflows",
        "train/b.py:1 raiha_core",
        "workflows/a.py:2 train",
    ]
    assert tangled_scripts(offender / "train") == [
        "c.py:2 imports the script a",
        "c.py changes sys.path",
        "raiha_train/inner.py:2 imports the script b.x",
    ]
    assert too_new(offender) == ["train/b.py:2 imports tomllib", "train/b.py:3 imports typing"]


IMPORT_ALL = """
import importlib, pkgutil, sys, warnings
import torch
before = (torch.get_num_threads(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled(),
          torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32, torch.is_grad_enabled(),
          torch.get_rng_state().tolist(), list(warnings.filters))
import raiha_core
found = pkgutil.walk_packages(raiha_core.__path__, "raiha_core.")
names = [module.name for module in found if "__main__" not in module.name]
for name in names:
    importlib.import_module(name)
after = (torch.get_num_threads(), torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled(),
         torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32, torch.is_grad_enabled(),
         torch.get_rng_state().tolist(), list(warnings.filters))
assert before[:-1] == after[:-1], "a global setting of torch changed"
heavy = {"timm", "torchvision", "comfy_api", "matplotlib", "skimage", "cv2", "accelerate", "tifffile"}
heavy &= set(sys.modules)
assert not heavy, f"importing the core imports {heavy}"
sys.stderr.write(str(len(names)))
"""


def test_importing_the_core_does_nothing():
    # no output, no weights or network library loaded, no setting of torch touched, the random state kept
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert int(result.stderr) > 60
