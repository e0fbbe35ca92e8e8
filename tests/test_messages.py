"""What nodes can say: no message shows a command's option, or a library's own text in place of ours.

The sources are walked, because no test reaches every sentence. Oracle: sentences of both kinds, made here.
"""

import ast
import json
import re
from pathlib import Path

import pytest

from raiha_core.reasons import reason

ROOT = Path(__file__).parents[1]
OPTION = re.compile(r"(?:^|[^\w-])--[a-z]")
# the command line's own, and what only commands reach
_ELSEWHERE = {"cli", "data"}, {"fetch.py", "convert.py"}
SOURCES = [
    path
    for path in sorted([*(ROOT / "nodes").rglob("*.py"), *(ROOT / "raiha_core").rglob("*.py")])
    if not _ELSEWHERE[0] & set(path.parts) and path.name not in _ELSEWHERE[1]
]


def docstrings(tree: ast.AST) -> set[ast.AST]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    owners = [node for node in ast.walk(tree) if isinstance(node, kinds) and node.body]
    return {node.body[0].value for node in owners if isinstance(node.body[0], ast.Expr)}


def options_shown(source: str) -> list[str]:
    """Texts of a source, documentation aside, that show a command's option."""
    tree = ast.parse(source)
    kept = docstrings(tree)
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in kept
    ]
    return [text for text in texts if OPTION.search(text)]


def own_errors() -> set[str]:
    """The classes of errors that are ours: what they say, we wrote."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                found.add(node.name)
    return found


def foreign_texts(source: str, own: set[str]) -> list[str]:
    """Places where the text of an error that may be a library's is put into a sentence as it is."""
    found = []
    for handler in ast.walk(ast.parse(source)):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None:
            continue
        kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        if {kind.id if isinstance(kind, ast.Name) else "?" for kind in kinds} <= own:
            continue
        for node in ast.walk(handler):
            shown = node.value if isinstance(node, ast.FormattedValue) else None
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str":
                shown = node.args[0]
            if isinstance(shown, ast.Name) and shown.id == handler.name:
                found.append(f"line {node.lineno}: {handler.name}")
    return found


# Texts of errors that are read and not shown, or come from what ComfyUI itself says to its users.
_LOOKED_AT = {
    "jpeg.py": 1, "tv_ops.py": 1, "icc.py": 1, "pictures.py": 1, "examples.py": 1, "wording.py": 2,
}  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_sentence_shows_an_option_or_a_librarys_text(path):
    source = path.read_text(encoding="utf-8")
    assert options_shown(source) == []
    assert len(foreign_texts(source, own_errors())) <= _LOOKED_AT.get(path.name, 0)


def test_the_walk_sees_what_it_looks_for():
    assert options_shown('raise ValueError(f"{x} (--label N)")') == [" (--label N)"]
    assert options_shown('"""About --label."""\nx = "a -- b, well--known, ---"') == []
    bad = 'try: pass\nexcept (OurError, OSError) as e: raise ValueError(f"no: {e}")'
    assert foreign_texts(bad, {"OurError"}) == ["line 2: e"]
    assert foreign_texts(bad.replace("{e}", "{reason(e)}"), {"OurError"}) == []
    assert foreign_texts(bad.replace("(OurError, OSError)", "OurError"), {"OurError"}) == []
    assert foreign_texts(bad.replace('f"no: {e}"', "str(e)"), set()) == ["line 2: e"]


def raised(call) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: json.loads("{\n a"), "its line 2 is no JSON"),
        (lambda: {}["spec"], "it lacks 'spec'"),
        (lambda: b"\xff".decode(), "it is no UTF-8 text"),
        (lambda: None + 1, "it holds a value of the wrong kind"),
        (lambda: (ROOT / "no such file").read_bytes(), "No such file or directory"),
        (lambda: json.loads("[" * 10**5), "it is nested without end"),
        (lambda: _refuse(), "a sentence of ours"),
    ],
)
def test_reasons_are_in_our_words(call, words):
    assert reason(raised(call)) == words


def _refuse() -> None:
    raise ValueError("a sentence of ours")
