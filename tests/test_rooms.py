"""Each thing in one room: resampling, names, and files and functions of a size that one can read.

Oracle: a small tree with one offence of each kind, on which the same checks must find each of them.
"""

import ast
from collections import defaultdict
from pathlib import Path

from tests.source_trees import ROOT, python_files, tree_of

FOLDERS = ("raiha_core", "nodes", "train")
# where torch's, Pillow's and OpenCV's own may be called; elsewhere it is these files' functions
RESIZING = {"raiha_core/resizing.py", "train/raiha_train/data/opencv_resizing.py"}
RESAMPLERS = {
    "interpolate", "grid_sample", "Upsample", "upsample", "avg_pool2d", "adaptive_avg_pool2d", "AvgPool2d",
    "AdaptiveAvgPool2d", "resize", "thumbnail", "zoom",
}  # fmt: skip
ENTRY_POINTS = {"main", "run", "add_parser", "make_parser"}
MOST_SHARED_NAMES = 9
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
LONGER = {("train/raiha_train/loop/run.py", "train")}  # the training loop reads top to bottom


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def resampling_elsewhere(root: Path) -> list[str]:
    """Calls of a resampler outside the room for it. A tensor's resize_, an array's reshape are none."""
    return [
        f"{name}:{node.lineno} {name_of(node.func)}"
        for folder in FOLDERS
        for file in python_files(root / folder)
        if (name := file.relative_to(root).as_posix()) not in RESIZING
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call) and name_of(node.func) in RESAMPLERS
    ]


def public_names(tree: ast.Module) -> set[str]:
    """What a file defines at its top level under a public name."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def shared_names(root: Path) -> dict[str, list[str]]:
    """Public names that two files or more define: one of them means something else."""
    where = defaultdict(list)
    for folder in (*FOLDERS, "workflows"):
        for file in python_files(root / folder):
            if "configs" in file.parts:
                continue  # each says EXPERIMENT, and is read alone
            for name in public_names(tree_of(file)) - ENTRY_POINTS:
                where[name].append(file.relative_to(root).as_posix())
    return {name: files for name, files in sorted(where.items()) if len(files) > 1}


def too_long(root: Path) -> list[str]:
    """Files and functions that no one reads in one sitting."""
    wrong = []
    for folder in (*FOLDERS, "workflows", "tests"):
        for file in python_files(root / folder):
            name = file.relative_to(root).as_posix()
            lines = len(file.read_text(encoding="utf-8").splitlines())
            if lines > MOST_LINES:
                wrong.append(f"{name} {lines}")
            for node in ast.walk(tree_of(file)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                    lines = node.end_lineno - node.lineno + 1
                    if lines > MOST_LINES_OF_A_FUNCTION and (name, node.name) not in LONGER:
                        wrong.append(f"{name}:{node.lineno} {node.name} {lines}")
    return wrong


def test_resampling_happens_in_its_room():
    assert len(python_files(ROOT / "raiha_core")) > 60  # the checks really see the project
    assert all((ROOT / name).is_file() for name in RESIZING)
    assert resampling_elsewhere(ROOT) == []


def test_one_name_means_one_thing():
    shared = shared_names(ROOT)
    assert len(shared) <= MOST_SHARED_NAMES, shared


def test_files_and_functions_are_read_in_one_sitting():
    assert too_long(ROOT) == []


def test_each_offence_is_found(tmp_path):
    files = {
        "raiha_core/resizing.py": "def a(x):\n    return F.interpolate(x)\n",  # the room itself
        "raiha_core/a.py": "import torch.nn.functional as F\ny = F.interpolate(x, size=3)\n",
        "raiha_core/b.py": "from torch.nn.functional import grid_sample\ndef f():\n    grid_sample(x, y)\n",
        "nodes/c.py": "def f(picture):\n    return picture.resize((3, 3)), cv2.resize(picture, (3, 3))\n",
        "train/d.py": "def f(x):\n    x.resize_(3)\n    pool = nn.AvgPool2d(2)\n",
        "train/raiha_train/data/opencv_resizing.py": "import cv2\ncv2.resize(x, y)\n",
        "train/e.py": "F = 1\ndef main():\n" + "    pass\n" * 60,
        "workflows/g.py": "_F = 2\nclass F: ...\nmain = 3\n",
        "tests/h.py": "x = 1\n" * 401,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert resampling_elsewhere(tmp_path) == [
        "raiha_core/a.py:2 interpolate",
        "raiha_core/b.py:3 grid_sample",
        "nodes/c.py:2 resize",
        "nodes/c.py:2 resize",
        "train/d.py:3 AvgPool2d",
    ]
    assert shared_names(tmp_path) == {
        "F": ["train/e.py", "workflows/g.py"],
        "f": ["raiha_core/b.py", "nodes/c.py", "train/d.py"],
    }
    assert too_long(tmp_path) == ["train/e.py:2 main 61", "tests/h.py 401"]
