"""The first line of the command: what it lists, and that looking at it waits for no library."""

import gc
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from raiha_core import cli
from raiha_core.cli.main import COMMANDS, main, make_parser

ROOT = Path(__file__).parents[1]
CALL = """
import sys
from raiha_core.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
heavy = {"torch", "numpy", "PIL", "tqdm", "safetensors", "timm"} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""


@pytest.mark.parametrize(("call", "code"), [("--help", 0), ("--version", 0), ("bogus", 2), ("", 2)])
def test_what_needs_no_library_imports_none(call, code):
    done = subprocess.run(
        [sys.executable, "-c", CALL, *call.split()], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_every_module_with_a_command_is_listed(capsys):
    modules = [module.name for module in pkgutil.iter_modules(cli.__path__)]
    with_command = {
        n for n in modules if hasattr(importlib.import_module(f"{cli.__name__}.{n}"), "add_parser")
    }
    assert set(COMMANDS) == with_command
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {line}" in printed for name, line in COMMANDS.items())


def test_a_command_knows_its_arguments_once_it_is_called(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--traceback", "models", "--help"])
    assert end.value.code == 0
    assert gc.isenabled()
    assert "only this one" in capsys.readouterr().out
    for parser in (make_parser(), make_parser(whole=True)):
        arguments = parser.parse_args(["models", "raiha-plus", "--json"])
        assert (arguments.command, arguments.name, arguments.json) == ("models", "raiha-plus", True)
