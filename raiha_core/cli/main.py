"""Entry point: one parser, one place where errors become one sentence and an exit code.

Exit codes: 0 success, 2 a wrong call, 1 anything else.
"""

import argparse
import io
import os
import sys
import warnings
from typing import NoReturn

from .. import __version__
from .errors import out_of_memory, sentence


class Parser(argparse.ArgumentParser):
    """Tells a wrong call in one sentence too; argparse would print the usage, ten lines long, before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"raiha: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    # Here and not above, because they import torch, for seconds, in which Ctrl-C must be one sentence too.
    from . import calibrate, convert, data, gallery, harmonize, models, retrieve

    parser: argparse.ArgumentParser = Parser(
        prog="raiha",
        description="Make a pasted object belong: retrieve references, harmonize, look at why.",
        epilog="example: raiha harmonize composite.png --mask mask.png -o result.png",
    )
    parser.add_argument("--version", action="version", version=f"raiha {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (gallery, retrieve, harmonize, models, calibrate, convert, data):
        command.add_parser(commands)
    return parser


def _warn(message: Warning | str, *_: object) -> None:
    print(f"raiha: {message}", file=sys.stderr)


def _prepare_output() -> None:
    """Names of files may hold what the terminal's encoding has not; no finished work may be lost by that."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns: the exit code."""
    debug = False
    try:
        _prepare_output()
        arguments = make_parser().parse_args(argv)
        debug = arguments.traceback
        with warnings.catch_warnings():
            warnings.showwarning = _warn  # type: ignore[assignment]
            code: int = arguments.run(arguments)
        sys.stdout.flush()  # here, where a reader that went away is dealt with, and not at exit
        return code
    except KeyboardInterrupt:
        print("raiha: interrupted; what was finished is kept", file=sys.stderr)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        if debug:
            raise
        print(f"raiha: {sentence(error)}", file=sys.stderr)
    except (MemoryError, RuntimeError) as error:
        if debug or not out_of_memory(error):
            raise
        print("raiha: not enough memory for pictures of this size on this device", file=sys.stderr)
    return 1
