"""Runs a workflow, once or per row: again where a server was lost, and not again where it is done."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..raiha_core.cli.errors import sentence
from ..raiha_core.durable import make_folder, write_text
from .host_graph import Prompt
from .host_prompt import Setting, apply_settings
from .host_results import save_outputs, texts
from .host_rows import InputRow
from .host_runner import Runner

_LOG = logging.getLogger("raiha.host")
_MARK = "run.json"  # in a row's folder, written last
_LONGEST_PAUSE = 30.0  # seconds


@dataclass(slots=True)
class RunOutcome:
    """What a run left; `as_json` is what a report shows of it."""

    name: str
    state: str = "failed"  # done, skipped, failed
    files: list[Path] = field(default_factory=list)
    text: dict[str, list[str]] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        shown = {"state": self.state, "error": self.error} if self.error else {"state": self.state}
        files = [str(path) for path in self.files]
        return {
            "name": self.name,
            **shown,
            "seconds": round(self.seconds, 2),
            "files": files,
            "text": self.text,
        }


def run_once(
    prompt: Prompt, settings: Sequence[Setting], runner: Runner, folder: Path, *, timeout: float, retries: int
) -> RunOutcome:
    """Upload, run and fetch within `timeout` seconds; after a lost connection all of it again.

    Raises: ConnectionError where the server is still lost after that many retries; else as the runner.
    """
    started = time.monotonic()
    for attempt in range(retries + 1):
        try:
            runner.start_clock(timeout)
            outputs = runner.run(apply_settings(prompt, settings, runner))
            files = save_outputs(outputs, runner, folder)
            seconds = time.monotonic() - started
            return RunOutcome(folder.name, "done", files, texts(outputs), seconds=seconds)
        except ConnectionError as error:
            if attempt == retries:
                raise
            pause = min(2.0**attempt, _LONGEST_PAUSE)
            _LOG.warning("%s; trying again in %g s", error, pause)
            time.sleep(pause)
    raise AssertionError("the loop returns or raises")


def run_rows(
    prompt: Prompt,
    settings: Sequence[Setting],
    rows: Sequence[InputRow],
    runner: Runner,
    out: Path,
    *,
    timeout: float,
    retries: int,
) -> Iterator[RunOutcome]:
    """One job per row, in its folder below `out`; a row that fails does not stop the others.

    A row whose workflow, values and pictures are those of its last run, and whose results are still there,
    is skipped. Raises: ConnectionError where the server stays lost.
    """
    for row in rows:
        folder = out / row.name
        every = [*settings, *row.settings]
        digest = _digest(prompt, every)
        if (job := _finished(folder, digest)) is not None:
            yield job
            continue
        try:
            job = run_once(prompt, every, runner, folder, timeout=timeout, retries=retries)
            _mark(folder, digest, job)
        except ConnectionError:
            raise
        except (ValueError, OSError) as error:
            job = RunOutcome(row.name, error=sentence(error))
        yield job


def _digest(prompt: Prompt, settings: Sequence[Setting]) -> str:
    """Of all that decides a row's result, as far as this side sees it."""
    seen: list[Any] = [prompt]
    for setting in settings:
        picture = setting.picture()
        content = None if picture is None else hashlib.sha256(picture.read_bytes()).hexdigest()
        seen.append([setting.node, setting.input, content or setting.value])
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def _mark(folder: Path, digest: str, job: RunOutcome) -> None:
    files = [path.relative_to(folder).as_posix() for path in job.files]
    make_folder(folder)
    write_text(folder / _MARK, json.dumps({"digest": digest, "files": files, "text": job.text}, indent=1))


def _finished(folder: Path, digest: str) -> RunOutcome | None:
    """The job that an earlier run has finished, if nothing has changed since."""
    try:
        mark = json.loads((folder / _MARK).read_text(encoding="utf-8"))
        files = [folder / name for name in mark["files"]]
        if mark["digest"] != digest or not all(path.is_file() for path in files):
            return None
        return RunOutcome(folder.name, "skipped", files, mark["text"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
