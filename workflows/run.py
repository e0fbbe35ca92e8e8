"""Runs an API-format workflow headless: embedded (without ComfyUI), on a checkout, or on a server.

python workflows/run.py workflows/api/harmonize.json --out results
"""

import argparse
import importlib
import io
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
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
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="FOLDER_OR_CSV",
        help="run once per row of a CSV file, whose first line names inputs as NODE.INPUT, or once per "
        "picture of a folder that holds a folder such as 1.image for each input; results go to a folder "
        "of --out per row, and rows that are done are skipped",
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
        "--timeout",
        type=float,
        default=3600,
        metavar="SECONDS",
        help="give up on a run after this long, uploads and downloads included (default 3600)",
    )
    parser.add_argument(
        "--retries",
        type=int,
        default=5,
        metavar="N",
        help="with --server: how often to start a run again when the server is lost (default 5)",
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
    prompts, jobs = pack("workflows.host_prompt"), pack("workflows.host_jobs")
    prompt = prompts.read_prompt(arguments.file)
    settings = [prompts.parse_setting(text) for text in arguments.settings]
    rows = [] if arguments.inputs is None else pack("workflows.host_rows").read_rows(arguments.inputs)
    named = [*settings, *(setting for row in rows for setting in row.settings)]
    prompts.require_nodes(prompt, named)
    started = time.monotonic()
    limits = {"timeout": arguments.timeout, "retries": arguments.retries if arguments.server else 0}
    runner = _runner(arguments)
    runner.start_clock(arguments.timeout)
    with runner:
        report: dict[str, Any] = {"runner": type(runner).__name__.lower()}
        if arguments.inputs is None:
            job = jobs.run_once(prompt, settings, runner, arguments.out, **limits)
            report |= {"files": [str(path) for path in job.files], "text": job.text}
        else:
            prompts.require_inputs(prompt, named, runner)
            report |= _run_rows(
                jobs.run_rows(prompt, settings, rows, runner, arguments.out, **limits), len(rows), arguments
            )
    return {**report, "seconds": round(time.monotonic() - started, 2)}


def _run_rows(jobs: Iterator[Any], count: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """The rows' part of the report. A lost server ends it early; what is done stays."""
    rows, lost = [], None
    try:
        for number, job in enumerate(jobs, 1):
            rows.append(job.as_json())
            if not arguments.json:
                print(f"{number}/{count} {job.name}: {job.error or job.state}", flush=True)
    except ConnectionError as error:
        lost = str(error)
    states = [row["state"] for row in rows]
    counts = {state: states.count(state) for state in ("done", "skipped", "failed")}
    return {**counts, "not_run": count - len(rows), "error": lost, "rows": rows}


def _report(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    for node, lines in report.get("text", {}).items():
        print(f"node {node}:", *lines, sep="\n  ")
    for path in report.get("files", ()):
        print(path)
    if "rows" in report:
        print(
            ", ".join(
                f"{report[name]} {name.replace('_', ' ')}"
                for name in ("done", "skipped", "failed", "not_run")
            )
        )
    print(f"{report['seconds']} s ({report['runner']})")


def main(argv: list[str] | None = None) -> int:
    """Returns: 0 for success, 2 for a wrong call, 1 for anything else."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what a terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a started ComfyUI must not outlive us
    wrong_call = pack("workflows.host_prompt").WrongCallError
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"run.py: {message}", file=sys.stderr)
            report = _run(arguments)
            _report(report, arguments.json)
        if report.get("error"):
            print(f"run.py: {report['error']}", file=sys.stderr)
        return 1 if report.get("failed") or report.get("not_run") else 0
    except wrong_call as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("run.py: interrupted", file=sys.stderr)
    except (ValueError, OSError) as error:
        if arguments.traceback:
            raise
        print(f"run.py: {pack('raiha_core.cli.errors').sentence(error)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
