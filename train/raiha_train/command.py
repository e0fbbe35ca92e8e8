"""What every command of train/ does around its work: it says in one line what is wrong."""

import argparse
import sys
from collections.abc import Callable

from safetensors import SafetensorError


def command_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a module's docstring as it stands there, examples included."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def exit_code(name: str, work: Callable[[], object], *, kept: str = "") -> int:
    """Do the work: 0, or 1 with one line on stderr where it cannot be done or was interrupted.

    Args:
        name: of the command, the line begins with it.
        kept: what an interruption leaves, in words; without them it is not caught.
    """
    try:
        work()
    except KeyboardInterrupt:
        if not kept:
            raise
        print(f"{name}: interrupted; {kept}", file=sys.stderr)
        return 1
    except (ValueError, OSError, SafetensorError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
