"""Entry point: one parser, one place where errors become one sentence and an exit code.

Exit codes: 0 success, 2 a wrong call, 1 anything else.
"""

import argparse
import os
import sys
import warnings

from .. import __version__
from . import calibrate, convert, data, gallery, harmonize, models, retrieve

_COMMANDS = (gallery, retrieve, harmonize, models, calibrate, convert, data)


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="raiha",
        description="Make a pasted object belong: retrieve references, harmonize, look at why.",
        epilog="example: raiha harmonize composite.png --mask mask.png -o result.png",
    )
    parser.add_argument("--version", action="version", version=f"raiha {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def _warn(message: Warning | str, *_: object) -> None:
    print(f"raiha: {message}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns: the exit code."""
    arguments = make_parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            return arguments.run(arguments)
    except KeyboardInterrupt:
        print("raiha: interrupted; what was finished is kept", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        if arguments.traceback:
            raise
        print(f"raiha: {error}", file=sys.stderr)
        return 1
