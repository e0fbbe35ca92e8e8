"""Stores, weights, lists, workflows and servers of strangers: what they can make happen.

Opening and using each starts no process, opens no socket, unpickles nothing, writes only inside the chosen
folders, and reads below the trial's folder only the store and the photo folders that it names.
"""

import json
import os
import pickle
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

import torch

from raiha_core import fetch as fetching
from raiha_core.convert import convert
from raiha_core.features.weights import read_state
from raiha_core.gallery import journal
from raiha_core.gallery.build import build
from raiha_core.gallery.check import check
from raiha_core.gallery.info import info
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from raiha_core.harmonizer import load_harmonizer
from raiha_core.models.presets import FETCHABLE
from tests.gallery_fakes import FakeEncoder, tree, write_photo, write_photos
from tests.node_cases import make_host, node
from workflows.run import pack

from .grammar import fault_of
from .part import Part, dice
from .processes import end_of, start
from .watch import Watch

_ANSWERS = 30  # of a server in one trial
_NAMES = ("../secret.png", "../../secret.png", "/etc/passwd", "a/../../secret.png", "zz../secret.png", "con")
_NAMES += ("..\\secret.png", "C:\\secret.png", "SECRET.PNG", "e\u0301.png", "x/./../../secret.png")


def _watched(
    place: Path, mine: list[Path], open_to: list[Path], job: Callable[[], str], closed: Path | None = None
) -> str:
    """What a job did that it must not, or what it says itself; `closed` as for `Watch`."""

    def child() -> None:
        watch = Watch(mine, closed or place, open_to)
        watch.install()
        fault = job()
        watch.on = False
        (place / "said.json").write_text(json.dumps([fault, watch.found]))

    code = end_of(start(child, place / "error.txt"))
    if code:
        told = (place / "error.txt").read_text() if (place / "error.txt").exists() else ""
        return f"the child ended with code {code}: {told[:200]}"
    fault, found = json.loads((place / "said.json").read_text())
    return fault or (f"{found[0]}" if found else "")


@cache
def _stage(root: Path) -> Path:
    build(write_photos(root / "photos", 5), root / "store", encoder=FakeEncoder())
    return root


def _lines(store: Path, change: Callable[[dict], dict]) -> None:
    """Change the lines of a manifest and seal them again, as their author can."""
    path = store / "manifest.jsonl"
    batches = [[change(dict(line)) for line in batch] for batch in journal.read(path).batches]
    journal.rewrite(path, batches)


def _link(path: Path, target: Path | str) -> None:
    """A link where a part of the store was, to a copy of it or to anything."""
    if path.is_dir():
        shutil.move(path, target)
    elif path.exists():
        shutil.copy(path, target) if not Path(target).exists() else None
        path.unlink()
    path.symlink_to(target)


def _hostile(rng: random.Random, store: Path, outside: Path) -> None:
    """One thing that a stranger may do to a store."""
    parts = [
        "manifest.jsonl",
        "spec.json",
        "calibration.json",
        "lock",
        "shards",
        "index",
        "index/rotation.safetensors",
    ]
    name = rng.choice(_NAMES)
    way = rng.choice(
        ("link", "link", "device", "pipe", "id", "id", "id", "folder", "inside", "leftover", "dangling")
    )
    if way == "link":
        _link(store / rng.choice(parts), outside / "target")
    elif way == "device":
        path = store / rng.choice(parts[:4])
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/zero")
    elif way == "pipe":
        path = store / rng.choice(parts[:4])
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    elif way == "id":
        called = rng.choice(("", "z"))

        def change(line: dict) -> dict:
            if line["kind"] == "folder":
                return {**line, "name": called}
            return {**line, "id": name} if line["kind"] == "photo" and rng.random() < 0.5 else line

        _lines(store, change)
    elif way == "folder":
        _lines(
            store, lambda line: {**line, "name": name, "relative": name} if line["kind"] == "folder" else line
        )
    elif way == "inside":
        _lines(store, lambda line: {**line, "inside": name} if line["kind"] in ("begin", "end") else line)
    elif way == "leftover":
        (store / "shards" / ".000000.1-1.part.safetensors").symlink_to(outside / "mine.txt")
    else:
        (store / rng.choice(("calibration.json", "index/000009.safetensors"))).symlink_to(outside / "nowhere")


def store(seed: int, place: Path) -> str | None:
    """A hostile store, read and written in every way, with the photos in another place than it says."""
    rng = dice(seed)
    stage = _stage(place.parent / "hostile")
    ours, photos, outside = place / "store", place / "photos", place / "outside"
    shutil.copytree(stage / "store", ours)
    shutil.copytree(stage / "photos", photos)
    outside.mkdir()
    (outside / "mine.txt").write_text("mine")
    write_photo(place / "secret.png", 99)
    _hostile(rng, ours, outside)
    before, secret, own = tree(outside), tree(stage / "photos"), tree(photos)

    def job() -> str:
        calls = [
            lambda: check(ours, photos=photos),
            lambda: info(ours, photos=photos),
            lambda: [open_gallery(ours, photos=photos).load(row) for row in range(3)],
            lambda: open_gallery(ours, photos=photos, allow_partial=True).duplicates(),
            lambda: remove(ours, ["*"]),
            lambda: build(photos, ours, encoder=FakeEncoder(), moved=True),
            lambda: repair(ours),
            lambda: check(ours),
        ]
        faults = (fault_of(call, (ValueError, OSError, IndexError)) for call in calls)
        return next((fault for fault in faults if fault), "")

    open_to = [ours, photos, outside / "target"]  # a link is told by where it lies
    if fault := _watched(place, [ours], open_to, job):
        return fault
    kept = {name: what for name, what in tree(outside).items() if name in before}
    if kept != before or tree(stage / "photos") != secret or tree(photos) != own:
        return "something outside the store was changed"
    return None


def stale(seed: int, place: Path) -> str | None:
    """A photo that is another one now is never shown as the one that was found."""
    rng = dice(seed)
    photos = write_photos(place / "photos", 4)
    build(photos, place / "store", encoder=FakeEncoder())
    gallery = open_gallery(place / "store")
    row = rng.randrange(len(gallery))
    path = Path(gallery.photos[row].path)
    data, found = bytearray(path.read_bytes()), path.stat()
    write_photo(path, 1000 + seed % 1000, size=(gallery.photos[row].height, gallery.photos[row].width))
    if path.read_bytes() == bytes(data):
        return None
    if rng.random() < 0.5:  # a program that keeps the time of writing, as many do
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    try:
        gallery.load(row)
    except ValueError as error:
        return None if "has changed" in str(error) else f"another sentence: {error}"
    return "a photo that was changed is loaded as the one that was indexed"


# ---- weights


class _Calls:
    """What runs a function where it is unpickled."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def _pickles(rng: random.Random, mark: Path) -> bytes:
    hostile = rng.choice(
        (
            _Calls(os.system, f"touch {mark}"),
            _Calls(eval, f"open({str(mark)!r}, 'w')"),
            _Calls(exec, f"open({str(mark)!r}, 'w')"),
            _Calls(os.mkdir, str(mark)),
            _Calls(getattr, "x", "upper"),
            _Calls(torch.load, str(mark)),
            _Calls(torch.hub.load_state_dict_from_url, "http://127.0.0.1:9/x"),
        )
    )
    whole = rng.choice((hostile, {"a": hostile}, {"state_dict": {"a": hostile}}, [hostile]))
    return pickle.dumps(whole, protocol=rng.choice((2, 2, 3, 4)))


def weights(seed: int, place: Path) -> str | None:
    """Weight files that would run code if they were unpickled by Python."""
    rng = dice(seed)
    path, mark = place / "given" / rng.choice(("net.pth", "net.pt", "net.bin")), place / "ran"
    path.parent.mkdir()
    data = _pickles(rng, mark)
    if rng.random() < 0.5:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/data.pkl", data)
            archive.writestr("net/version", "3")
            archive.writestr("net/byteorder", "little")
    else:
        path.write_bytes(data)

    def job() -> str:
        for call in (lambda: convert(path), lambda: read_state(path), lambda: load_harmonizer(path)):
            if fault := fault_of(call):
                return fault
        return ""

    fault = _watched(place, [path.parent], [path.parent], job)
    return fault or ("the file ran code" if mark.exists() else None)


def fetched(seed: int, place: Path) -> str | None:
    """A file that is brought is parsed only once its digest is the authors'."""
    rng = dice(seed)
    name = rng.choice(FETCHABLE)
    given = place / "given.pth"
    given.write_bytes(_pickles(rng, place / "ran") + bytes(rng.randrange(100)))
    parsed: list[Path] = []

    def receive(url: str, part: Path, most: int, report: object) -> None:
        part.write_bytes(given.read_bytes())

    def parse(path: Path, *more: object, **named: object) -> None:
        parsed.append(path)
        raise ValueError("parsed")

    source = given if rng.random() < 0.5 else None
    with mock.patch.object(fetching, "convert", parse), mock.patch.object(fetching, "_receive", receive):
        try:
            fetching.fetch(name, place / "folder", source=source, mirror="http://127.0.0.1:9")
            return "another file than the authors' was taken"
        except ValueError as error:
            if parsed or "parsed" in str(error):
                return "a file was parsed before its digest was looked at"
    left = [path.name for path in (place / "folder").iterdir()]
    return f"left behind: {left}" if left else None


# ---- workflows and servers


@cache
def _host(root: Path) -> object:
    root.mkdir(parents=True)
    return make_host(root)


def workflow(seed: int, place: Path) -> str | None:
    """A workflow that names files elsewhere, for what it reads and for what it writes."""
    rng = dice(seed)
    base = place.parent / "hosts"
    host = _host(base)
    write_photo(base.parent / "secret.png", 5)
    outside = {path: path.stat().st_mtime_ns for path in base.parent.glob("*.png")}
    name = rng.choice((*_NAMES, "composite.png", "../composite.png [temp]", "composite.png [output]"))
    prefix = rng.choice((*_NAMES, "%year%/x", "x/y", "%../%", "a" * 300, "\0", "raiha"))
    load, save = rng.choice((("LoadImage", "SaveImage"), ("Raiha_LoadPicture", "SaveImage")))
    prompt = {
        "1": node(load, image=name),
        "2": node(save, images=["1", 0], filename_prefix=prefix),
    }

    def job() -> str:
        return fault_of(lambda: host.run(prompt))  # type: ignore[attr-defined]

    folders = [base / kind for kind in ("input", "output", "temp", "user", "models")]
    if fault := _watched(place, [base], folders, job, closed=place.parent):
        return f"{name}, {prefix[:40]}: {fault}"
    strange = [path for path in base.parent.glob("*.png") if outside.get(path) != path.stat().st_mtime_ns]
    return f"{name}, {prefix[:40]}: wrote {strange[0].name}" if strange else None


def server(seed: int, place: Path) -> str | None:
    """A server that gives its pictures names elsewhere, and other things than pictures."""
    rng = dice(seed)
    results = pack("workflows.host_results")
    values = (*_NAMES, "a.png", "", None, 3, ["x"], "a/b.png", "\n", "x" * 400, "nul", "a:b.png")

    def outputs() -> dict:
        entries = [
            {"filename": rng.choice(values), "subfolder": rng.choice(values), "type": "output"}
            for _ in range(rng.randrange(1, 4))
        ]
        return {"1": {"images": entries, "text": rng.choice((None, ["x"], 5))}}

    class Runner:
        def fetch(self, entry: object) -> bytes:
            return struct.pack(">I", 7)

    (place / "out").mkdir()

    def job() -> str:
        for _ in range(_ANSWERS):
            if fault := fault_of(lambda: results.save_outputs(outputs(), Runner(), place / "out")):
                return fault
        return ""

    fault = _watched(place, [place / "out"], [place / "out"], job)
    return fault or None


PARTS = (
    Part(name="strangers-store", trial=store, full=600, seconds=60),
    Part(name="strangers-stale", trial=stale, full=200, seconds=60, share=0.5),
    Part(name="strangers-weights", trial=weights, full=300, seconds=60, share=0.5),
    Part(name="strangers-fetch", trial=fetched, full=100, seconds=60, share=0.5),
    Part(name="strangers-workflow", trial=workflow, full=300, seconds=120, share=0.7),
    Part(name="strangers-server", trial=server, full=300, seconds=60, share=0.5, cases=_ANSWERS),
)
