"""Writes docs/cli.md from the parser itself: python tests/tools/make_cli_docs.py

The text is built from the parser's actions, not from its help output, which differs between Pythons.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from raiha_core.cli.main import make_parser

PATH = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
HEAD = """# The command line

Made from the commands themselves by `tests/tools/make_cli_docs.py`; a test compares. Exit codes: 0 success,
2 a wrong call, 1 anything else. Errors are one sentence; `raiha --traceback COMMAND ...` shows where one came
from.
"""


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands that run something, depth first."""
    nested = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not nested:
        yield parser
    for action in nested:
        for command in action.choices.values():
            yield from commands(command)


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest).upper()
    if action.option_strings and action.nargs != 0:
        value = action.metavar or (
            "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
        )
        name += f" {value}"
    needed = "required" if action.required and action.option_strings else ""
    text = "; ".join(part for part in (needed, (action.help or "").replace("%%", "%")) if part)
    return f"| `{name.replace('|', ' or ')}` | {text} |"


def render() -> str:
    parts = [HEAD]
    for command in commands(make_parser(whole=True)):
        shown = [a for a in command._actions if not isinstance(a, argparse._HelpAction)]
        rows = "\n".join(_row(action) for action in shown if action.help != argparse.SUPPRESS)
        example = (command.epilog or "").removeprefix("example: ")
        call = f"```\n{example}\n```"
        table = f"| argument | |\n|---|---|\n{rows}\n"
        parts.append(f"## {command.prog}\n\n{command.description}\n\n{call}\n\n{table}")
    return "\n".join(parts)


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
