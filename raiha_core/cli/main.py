"""Entry point: one parser, one place where errors become one sentence and an exit code.

Exit codes: 0 success, 2 a wrong call, 1 anything else.
"""

import argparse
import gc
import importlib
import io
import os
import sys
import warnings
from typing import Any, NoReturn, cast

from .. import __version__
from .errors import out_of_memory, sentence


class Parser(argparse.ArgumentParser):
    """Tells a wrong call in one sentence too; argparse would print the usage, ten lines long, before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"raiha: {message} (see {self.prog} --help)\n")


# the module of the same name in this folder, and its line in `raiha --help`
COMMANDS = {
    "gallery": "build and keep galleries of photos",
    "retrieve": "find photos of similar content under the background's light",
    "paste": "paste a cut-out into a background",
    "harmonize": "change the look of the pasted object until it belongs",
    "score": "say how much of a composite seems wrong",
    "models": "list presets, weights, and what can be had",
    "fetch": "bring a published network's weights",
    "calibrate": "find thresholds for a gallery",
    "convert": "open an authors' weight file",
    "data": "look at a data set for evaluation or training",
}


class Commands(argparse._SubParsersAction):
    """Imports a command's module when it is called: most need torch, and `raiha --help` waits for none."""

    def load(self, name: str) -> None:
        """Put the module's parser in the place of the name alone."""
        gc.disable()  # in torch's import it takes a fifth of the time, and there is no garbage
        try:
            module = importlib.import_module(f".{name}", __package__)
        finally:
            gc.enable()
        del self._name_parser_map[name]
        module.add_parser(self)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if values[0] in COMMANDS:  # argparse itself refuses any other
            self.load(values[0])
        super().__call__(parser, namespace, values, option_string)


def make_parser(*, whole: bool = False) -> argparse.ArgumentParser:
    """The command line. A command's own arguments are known once it is called; `whole`: all are, now."""
    parser: argparse.ArgumentParser = Parser(
        prog="raiha",
        description="Make a pasted object belong: retrieve references, harmonize, look at why.",
        epilog="example: raiha harmonize composite.png --mask mask.png -o result.png",
    )
    parser.add_argument("--version", action="version", version=f"raiha {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    commands = cast(
        "Commands",
        parser.add_subparsers(action=Commands, dest="command", required=True, metavar="COMMAND"),
    )
    for name, line in COMMANDS.items():
        commands.add_parser(name, help=line)
        if whole:
            commands.load(name)
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
