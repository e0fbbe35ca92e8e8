"""Files of our own formats from strangers: each is opened rightly or refused in one sentence.

Nothing is written outside the folder that was named, and no photo is touched.
"""

import json
import shutil
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from raiha_core import checkpoint
from raiha_core.data.iharmony4 import read_iharmony4
from raiha_core.data.raharmony4 import read_references
from raiha_core.gallery import journal
from raiha_core.gallery.build import build
from raiha_core.gallery.check import check
from raiha_core.gallery.info import info
from raiha_core.gallery.listing import read_groups
from raiha_core.gallery.remove import remove
from raiha_core.gallery.repair import repair
from raiha_core.gallery.store import open_gallery
from raiha_core.models.hdnet import UNetConfig
from raiha_core.models.presets import PRESETS
from raiha_core.retrieval.search import query_from_patches, search_many
from raiha_train.data.photos import read_photos
from tests.gallery_fakes import FakeEncoder, tree, write_photos
from workflows.run import ROOT, pack

from .grammar import EXTREMES, VALUES, as_json, fault_of, first_fault, nearly, nearly_bytes, nearly_lines
from .part import Part

_CASES = 10


@cache
def _gallery(root: Path) -> Path:
    photos = write_photos(root / "photos", 5)
    store = root / "store"
    build(photos, store, encoder=FakeEncoder())
    (store / "calibration.json").write_text('{"content_threshold": 0.6, "appearance_threshold": 0.8}')
    return store


def _searched(store: Path) -> None:
    gallery = open_gallery(store)
    if not len(gallery):
        return
    block = gallery.gather([0])
    mask = torch.zeros(1, 1, 6, 6)
    mask[..., :3] = 1
    query = query_from_patches(block.content[0], block.histogram[0], mask, gallery.spec, query_id="q")
    search_many(gallery, [query], top_k=3)


def _judge_store(root: Path, place: Path, change: Callable[[Path], object]) -> str:
    """Open, check, search and write a store that was changed; look at what is outside."""
    copy = place / "store"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(root / "store", copy)
    change(copy)
    outside = tree(root)
    calls = {
        "check": lambda: check(copy),
        "info": lambda: info(copy),
        "open": lambda: open_gallery(copy),
        "search": lambda: _searched(copy),
        "load": lambda: open_gallery(copy).load(0),
        "remove": lambda: remove(copy, ["*"]),
        "build": lambda: build(root / "photos", copy, encoder=FakeEncoder(), moved=True),
        "repair": lambda: repair(copy),
    }
    for name, call in calls.items():
        refusals = (ValueError, OSError, IndexError) if name == "load" else (ValueError, OSError)
        if fault := fault_of(call, refusals):
            return f"{name}: {fault}"
    if tree(root) != outside or {path.name for path in place.iterdir()} != {"store"}:
        return "something outside the store was changed"
    return ""


def store(seed: int, place: Path) -> str | None:
    """spec.json, calibration.json, and the bytes of shards."""
    root = place.parent / "own"
    _gallery(root)
    spec = json.loads((root / "store" / "spec.json").read_text())
    shard = next((root / "store" / "shards").iterdir())
    head = int.from_bytes(shard.read_bytes()[:8], "little")
    header = json.loads(shard.read_bytes()[8 : 8 + head])

    def put(name: str) -> Callable[[bytes], Callable[[Path], object]]:
        return lambda data: lambda copy: (copy / name).write_bytes(data)

    inside = f"shards/{shard.name}"
    strategy = st.one_of(
        nearly(spec).map(as_json).map(put("spec.json")),
        VALUES.map(as_json).map(put("spec.json")),
        VALUES.map(as_json).map(put("calibration.json")),
        nearly({"content_threshold": 0.6, "appearance_threshold": 0.8})
        .map(as_json)
        .map(put("calibration.json")),
        nearly_bytes((root / "store" / "spec.json").read_bytes()).map(put("spec.json")),
        nearly_bytes(shard.read_bytes()).map(put(inside)),
        nearly(header).map(lambda said: _with_header(shard.read_bytes(), said)).map(put(inside)),
    )
    return first_fault(seed, _CASES, strategy, lambda change: _judge_store(root, place, change))


def _with_header(data: bytes, header: Any) -> bytes:
    """A safetensors file with another header."""
    head = int.from_bytes(data[:8], "little")
    text = as_json(header)
    return struct.pack("<Q", len(text)) + text + data[8 + head :]


def manifest(seed: int, place: Path) -> str | None:
    """Its lines, sealed again as their author can; the bytes of the file."""
    root = place.parent / "own"
    path = _gallery(root) / "manifest.jsonl"
    batches = [list(batch) for batch in journal.read(path).batches]

    def sealed(changed: Any) -> Callable[[Path], object]:
        def change(copy: Path) -> None:
            lines = [[line for line in batch] for batch in changed if isinstance(batch, list)]
            (copy / "manifest.jsonl").write_text(
                "".join(f"{text}\n" for batch in lines for text in _seal(batch)), encoding="utf-8"
            )

        return change

    strategy = st.one_of(
        nearly(batches).map(sealed),
        nearly_bytes(path.read_bytes()).map(
            lambda data: lambda copy: (copy / "manifest.jsonl").write_bytes(data)
        ),
    )
    return first_fault(seed, _CASES, strategy, lambda change: _judge_store(root, place, change))


def _seal(batch: list) -> list[str]:
    try:
        return journal.seal(batch)
    except RecursionError:
        return ["[" * 100_000]


def index(seed: int, place: Path) -> str | None:
    """The rotation and the index of a shard."""
    root = place.parent / "own"
    folder = _gallery(root) / "index"
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def put(name: str, data: bytes) -> Callable[[Path], object]:
        return lambda copy: (copy / "index" / name).write_bytes(data)

    def header(data: bytes) -> Any:
        return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])

    strategy = st.one_of(
        *(nearly_bytes(data).map(lambda new, name=name: put(name, new)) for name, data in files.items()),
        *(
            nearly(header(data)).map(lambda said, name=name, data=data: put(name, _with_header(data, said)))
            for name, data in files.items()
        ),
    )
    return first_fault(seed, _CASES, strategy, lambda change: _judge_store(root, place, change))


@cache
def _weights(root: Path) -> bytes:
    network = PRESETS["hdnet"].build(config=UNetConfig(width=2, size=32))
    root.mkdir(parents=True, exist_ok=True)
    checkpoint.save(root / "net.safetensors", network, checkpoint.describe(network, "hdnet"))
    return (root / "net.safetensors").read_bytes()


def weights(seed: int, place: Path) -> str | None:
    """A checkpoint: its metadata, its header, its bytes."""
    data = _weights(place.parent / "weights")
    head = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + head])
    about = json.loads(header["__metadata__"]["raiha"])

    def of_metadata(said: Any) -> bytes:
        return _with_header(data, {**header, "__metadata__": {"raiha": as_json(said).decode()}})

    strategy = st.one_of(
        nearly(about).map(of_metadata),
        nearly(about["config"]).map(lambda said: of_metadata({**about, "config": said})),
        st.builds(
            lambda name, value: of_metadata({**about, "config": {**about["config"], name: value}}),
            st.sampled_from(sorted(about["config"])),
            st.sampled_from(EXTREMES),
        ),
        nearly(header).map(lambda said: _with_header(data, said)),
        nearly_bytes(data),
    )

    def judge(changed: bytes) -> str:
        path = place / "net.safetensors"
        path.write_bytes(changed)
        for call in (checkpoint.read_metadata, checkpoint.load, checkpoint.load_gate):
            if fault := fault_of(lambda call=call: call(path)):
                return f"{call.__name__}: {fault}"
        return ""

    return first_fault(seed, _CASES, strategy, judge)


_COMPOSITES = "HCOCO/composite_images/c1_1_1.jpg\nHFlickr/composite_images/f2_1_2.jpg\nd90000014-2_1_3.jpg\n"
_ENTRY = {
    "input": "HCOCO/composite_images/c1_1_1.jpg",
    "mask": "HCOCO/masks/c1_1.png",
    "refs": ["HCOCO/real_images/c2.jpg", "HFlickr/real_images/f3.jpg"],
}
_LISTS: dict[str, tuple[Any, Callable[[Path], object]]] = {
    "test.txt": (_COMPOSITES, lambda path: read_iharmony4(path.parent, path.name)),
    "list.jsonl": ([_ENTRY, {**_ENTRY, "input": "HCOCO/composite_images/c1_1_2.jpg"}], read_references),
    "groups.csv": ('id,group\na.png,one\nb.png,"two, or\n', read_groups),
    "groups.jsonl": ([{"id": "a.png", "group": "one"}, {"id": "b.png", "group": 2}], read_groups),
    "manifest.jsonl": (
        [{"image": "a.png", "mask": "m.png", "group": "g"}, {"image": "b.png", "kind": "photo", "cls": "x"}],
        lambda path: read_photos(path.parent),
    ),
}


def lists(seed: int, place: Path) -> str | None:
    """Lists of composites, of references, of groups, of photos to train on."""
    drawn = []
    for name, (content, read) in _LISTS.items():
        if isinstance(content, str):
            strategy = nearly_lines(content)
        else:
            text = "".join(f"{json.dumps(row)}\n" for row in content)
            rows = nearly(content).map(
                lambda rows: b"\n".join(map(as_json, rows)) if isinstance(rows, list) else as_json(rows)
            )
            strategy = st.one_of(rows, nearly_lines(text))
        drawn.append(strategy.map(lambda data, name=name, read=read: (name, data, read)))

    def judge(example: tuple[str, bytes, Callable[[Path], object]]) -> str:
        name, data, read = example
        path = place / name
        path.write_bytes(data)
        fault = fault_of(lambda: read(path))
        path.unlink()
        return f"{name}: {fault}" if fault else ""

    return first_fault(seed, 3 * _CASES, st.one_of(drawn), judge)


@cache
def _host(root: Path) -> Any:
    root.mkdir(parents=True, exist_ok=True)
    return pack("workflows.host").Host(root)


def workflow(seed: int, place: Path) -> str | None:
    """A workflow in API format: read, and checked by the embedded host."""
    prompts, host = pack("workflows.host_prompt"), _host(place.parent / "host")
    files = sorted((ROOT / "workflows" / "api").glob("*.json"))
    texts = [path.read_text(encoding="utf-8") for path in files]
    strategy = st.one_of(
        *(nearly(json.loads(text)).map(as_json) for text in texts),
        *(nearly_bytes(text.encode()) for text in texts[:1]),
    )

    def judge(data: bytes) -> str:
        path = place / "workflow.json"
        path.write_bytes(data)
        return fault_of(lambda: host.check(prompts.read_prompt(path)))

    return first_fault(seed, _CASES, strategy, judge)


class _AnyInputs:
    """A runner that knows the inputs of every class."""

    def inputs_of(self, kind: str) -> dict:
        types = {"strength": "FLOAT", "image": "STRING", "seed": "INT", "exact": "BOOLEAN"}
        return {name: {"type": of} for name, of in types.items()}


def overrides(seed: int, place: Path) -> str | None:
    """What changes a workflow: --set, and tables of inputs."""
    prompts, rows = pack("workflows.host_prompt"), pack("workflows.host_rows")
    prompt = {"1": {"class_type": "X", "inputs": {}}, "4": {"class_type": "Y", "inputs": {}}}
    names = st.sampled_from(("1.image", "4.strength", "4.seed", "4.exact", "9.x", "X.image", "x", "=", "4."))
    settings = st.builds(
        lambda name, value: f"{name}={value}", names, st.one_of(st.text(), st.floats().map(str))
    )
    table = 'name,1.image,4.strength\nfirst,a.png,0.5\nsecond,"b,.png",1\n'

    def judge(example: str | bytes) -> str:
        if isinstance(example, str):
            return fault_of(
                lambda: prompts.apply_settings(prompt, [prompts.parse_setting(example)], _AnyInputs())
            )
        path = place / "rows.csv"
        path.write_bytes(example)

        def run() -> None:
            for row in rows.read_rows(path):
                prompts.apply_settings(prompt, row.settings, _AnyInputs())

        return fault_of(run)

    return first_fault(seed, 3 * _CASES, st.one_of(settings, nearly_lines(table)), judge)


PARTS = tuple(
    Part(name=f"own-{trial.__name__}", trial=trial, full=full, seconds=60, share=0.7, cases=cases)
    for trial, full, cases in (
        (store, 300, _CASES),
        (manifest, 400, _CASES),
        (index, 200, _CASES),
        (weights, 400, _CASES),
        (lists, 400, 3 * _CASES),
        (workflow, 400, _CASES),
        (overrides, 300, 3 * _CASES),
    )
)
