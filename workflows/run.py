"""Runs an API-format workflow headless: embedded (without ComfyUI), on a checkout, or on a server.

python workflows/run.py workflows/api/harmonize.json --out results
"""

import argparse
import importlib
import json
import logging
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "raiha_embedded"  # a neutral name: the pack must work whatever its folder is called


def pack(module: str) -> ModuleType:
    """A module of the pack, loaded as part of the package `raiha_embedded`.

    The folder's own __init__.py is not run: it is ComfyUI's entry, and here is no ComfyUI.
    """
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = [str(ROOT)]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{module}")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Run a workflow in ComfyUI's API format without its page.",
        epilog="example: python workflows/run.py workflows/api/harmonize.json "
        "--set 1.image=photo.png --set 2.image=mask.png --out results",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the workflow, such as workflows/api/*.json")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        dest="settings",
        help="change an input; NODE is an id, a title, or a class used once; picture files are uploaded",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pictures go")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--server", metavar="URL", help="run on a ComfyUI that is already running")
    where.add_argument(
        "--comfyui",
        metavar="PATH",
        nargs="?",
        const="",
        help="start a ComfyUI checkout and run there; without PATH, the one in COMFYUI_PATH",
    )
    where.add_argument("--embedded", action="store_true", help="run without ComfyUI (the default)")
    parser.add_argument("--python", metavar="FILE", help="with --comfyui: the interpreter to start it with")
    parser.add_argument(
        "--base",
        type=Path,
        metavar="DIR",
        help="keep galleries and inputs here instead of in a temporary folder",
    )
    parser.add_argument(
        "--timeout", type=float, default=3600, metavar="SECONDS", help="give up after this long"
    )
    parser.add_argument("--json", action="store_true", help="print a report as JSON")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


def _runner(arguments: argparse.Namespace) -> Any:
    """The context manager of the chosen runner; all three have the same methods."""
    if arguments.server:
        return pack("workflows.host_server").Server(arguments.server)
    if arguments.comfyui is None:
        return pack("workflows.host_embedded").Embedded(arguments.base, _progress(arguments))
    path = arguments.comfyui or os.environ.get("COMFYUI_PATH", "")
    if not path:
        raise ValueError("--comfyui needs the path of a ComfyUI checkout, or COMFYUI_PATH in the environment")
    checkout = pack("workflows.host_checkout").Checkout
    return checkout(Path(path), pack_root=ROOT, base=arguments.base, python=arguments.python)


def _progress(arguments: argparse.Namespace) -> Any:
    if arguments.json or not sys.stderr.isatty():
        return None

    def show(node_id: str, done: int, total: int) -> None:
        end = "\n" if done == total else ""
        print(f"\rnode {node_id}: {done}/{total}", end=end, file=sys.stderr, flush=True)

    return show


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    prompts = pack("workflows.host_prompt")
    prompt = prompts.read_prompt(arguments.file)
    settings = [prompts.parse_setting(text) for text in arguments.settings]
    prompts.require_nodes(prompt, settings)
    started = time.monotonic()
    with _runner(arguments) as runner:
        prompts.apply_settings(prompt, settings, runner)
        result = runner.run(prompt, timeout=arguments.timeout)
        files = prompts.save_outputs(result, runner, arguments.out)
    return {
        "runner": type(runner).__name__.lower(),
        "seconds": round(time.monotonic() - started, 2),
        "files": [str(path) for path in files],
        "text": prompts.texts(result),
    }


def _report(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    for node, lines in report["text"].items():
        print(f"node {node}:", *lines, sep="\n  ")
    for path in report["files"]:
        print(path)
    print(f"{report['seconds']} s ({report['runner']})")


def main(argv: list[str] | None = None) -> int:
    """Returns: 0 for success, 2 for a wrong call, 1 for anything else."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a started ComfyUI must not outlive us
    wrong_call = pack("workflows.host_prompt").WrongCallError
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"run.py: {message}", file=sys.stderr)
            _report(_run(arguments), arguments.json)
        return 0
    except wrong_call as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("run.py: interrupted", file=sys.stderr)
    except (ValueError, OSError) as error:
        if arguments.traceback:
            raise
        print(f"run.py: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
