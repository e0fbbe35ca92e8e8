"""The documentation is true: its Python runs, its commands exist, its links lead somewhere."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from raiha_core.cli.main import make_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
sys.path.insert(0, str(Path(__file__).parent / "tools"))

import make_models_docs  # noqa: E402
from make_cli_docs import PATH, commands, render  # noqa: E402


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


# docs/extending.md shows a file of the core: tests/test_extending.py runs it
PYTHON = [(page, block) for page in PAGES if page.stem != "extending" for block in blocks(page, "python")]


def test_the_python_of_the_readme_was_found():
    assert any(page.name == "README.md" for page, _ in PYTHON)


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=lambda value: getattr(value, "name", ""))
def test_python_blocks_run(page, block, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "assets", tmp_path / "assets")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(page), "exec"), {})
    assert ("result.png" in block) == (tmp_path / "result.png").is_file()


def test_the_command_line_page_is_what_the_parser_says():
    assert PATH.read_text(encoding="utf-8") == render(), "run python tests/tools/make_cli_docs.py"


def test_every_command_has_a_description_and_an_example_that_parses():
    seen = 0
    for command in commands(make_parser(whole=True)):
        assert command.description, command.prog
        example = (command.epilog or "").removeprefix("example: ")
        words = shlex.split(example.split("#")[0])
        assert words[0] == "raiha", command.prog
        make_parser().parse_args(words[1:])  # exits where the example is wrong
        seen += 1
    assert seen >= 10


def test_raiha_calls_in_the_pages_parse():
    calls = []
    for page in PAGES:
        if page == PATH:
            continue  # its examples are the parser's own
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        calls += [line.split("#")[0] for line in text.splitlines() if line.startswith("raiha ")]
    assert len(calls) >= 4
    for call in calls:
        make_parser().parse_args(shlex.split(call)[1:])


def test_links_to_files_lead_somewhere():
    found = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                found += 1
                assert (page.parent / target).exists(), f"{page.name}: {target}"
    assert found >= 5


def test_the_page_of_networks_is_what_the_presets_say():
    assert make_models_docs.PATH.read_text(encoding="utf-8") == make_models_docs.page(), (
        "run python tests/tools/make_models_docs.py"
    )
