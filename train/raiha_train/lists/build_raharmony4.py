"""Reference lists by our retrieval: RAHarmony4 anew, without its leaks, and lists for the trainer.

    accelerate launch train/build_raharmony4.py --data iHarmony4 --out lists/test
    python train/build_raharmony4.py --data iHarmony4 --list IHD_train.txt --out lists/train

Leaves OUT/references.jsonl (the official format), OUT/scores.json (per reference scores and matched
patches, and everything that decided the list) and OUT/report.md (ours beside the official list). A run
that was stopped goes on, with any number of processes; two runs give identical bytes.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from tqdm import tqdm

from raiha_core.cluster.cluster_search import ClusterSearch
from raiha_core.data.iharmony4 import TEST_LIST, TRAIN_LIST, read_iharmony4
from raiha_core.data.item import Triple, missing_files
from raiha_core.data.raharmony4 import Listed, read_references, write_references
from raiha_core.durable import write_text
from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.protocol import PatchEncoder
from raiha_core.gallery.store import StoredGallery, open_gallery
from raiha_core.nearduplicates import DEFAULT, Threshold

from ..command import command_parser, exit_code
from ..evaluation import published
from ..evaluation.run_settings import claim, code_digest, digest_of
from ..evaluation.score_log import drop_torn_line
from .hashes import calibrate_pool, hash_photos
from .leaks import find_leaks
from .pool import make_gallery, present_reals, reals_of
from .queries import ListRules, QueryResources, answer_all, read_parts
from .report import list_report
from .siblings import RULES, Pool


def make_parser() -> argparse.ArgumentParser:
    parser = command_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="iHarmony4's folder")
    parser.add_argument("--list", type=Path, default=Path(TEST_LIST), help="composites (IHD_test.txt)")
    parser.add_argument("--pool", type=Path, default=Path(TRAIN_LIST), help="its reals serve (IHD_train.txt)")
    parser.add_argument("--test", type=Path, help="its reals never serve (IHD_test.txt)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", default="lite0", help="features (default lite0; the paper's: dvt-b14)")
    parser.add_argument(
        "--encoder-weights",
        type=Path,
        metavar="FOLDER",
        help="of the encoder: a file or a folder (default: RAIHA_ENCODER_WEIGHTS, then the models' folder)",
    )
    parser.add_argument("--mode", choices=("strict", "paper"), default="strict", help="rules of leaks")
    parser.add_argument("--top-k", type=int, default=4, help="references per composite (default 4)")
    parser.add_argument("--random", type=int, metavar="SEED", help="draw among the qualifying, do not rank")
    parser.add_argument("--content-threshold", type=float, help="eps_c (default: the features' own)")
    parser.add_argument("--appearance-threshold", type=float, help="eps_a (default: the features' own)")
    parser.add_argument("--appearance-below", type=float, help="other light: eps_a under this")
    parser.add_argument("--official", type=Path, help="list to compare with (default: the published one)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16, help="composites per gallery pass (16)")
    parser.add_argument("--device", help="default: what accelerate gives this process")
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="search by a Ray cluster: HOST:PORT, auto or local",
    )
    parser.add_argument("--overwrite", action="store_true", help="start anew in a folder of other settings")
    return parser


def _bar(total: int, unit: str, shown: bool) -> tqdm:
    return tqdm(total=total, unit=unit, disable=not (shown and sys.stderr.isatty()))


def _gallery(
    arguments: argparse.Namespace, reals: Sequence[str], encoder: PatchEncoder, state: PartialState
) -> StoredGallery:
    """Built by the first process; the others open it when it is whole."""
    if state.is_main_process:
        with _bar(len(reals), "photo", True) as bar:
            make_gallery(
                arguments.data,
                reals,
                arguments.out,
                encoder,
                arguments.workers,
                lambda done, total, _: bar.update(done - bar.n),
            )
    state.wait_for_everyone()
    return open_gallery(arguments.out / "store")


def _near_duplicates(
    arguments: argparse.Namespace, items: Sequence[Triple], reals: Sequence[str], state: PartialState
) -> tuple[dict[str, np.ndarray], Threshold]:
    """Hashes of the pool and of the queries' own photos, and the calibrated threshold."""
    if arguments.mode == "paper":
        return {}, DEFAULT
    photos = sorted({*reals, *(item.real for item in items)})
    file = arguments.out / "hashes.jsonl"
    if state.is_main_process:
        drop_torn_line(file)
        with _bar(len(photos), "hash", True) as bar:
            hash_photos(
                arguments.data, photos, file, arguments.workers, lambda done, _: bar.update(done - bar.n)
            )
    state.wait_for_everyone()
    hashes = hash_photos(arguments.data, photos, file, 1, lambda *_: None)
    return hashes, calibrate_pool(hashes, reals)


def make_rules(arguments: argparse.Namespace, gallery: StoredGallery, near: Threshold) -> ListRules:
    given = arguments
    content, appearance = given.content_threshold, given.appearance_threshold
    return ListRules(
        mode=given.mode,
        top_k=given.top_k,
        ranking="ranked" if given.random is None else f"random {given.random}",
        content_threshold=gallery.spec.content_threshold if content is None else content,
        appearance_threshold=gallery.spec.appearance_threshold if appearance is None else appearance,
        appearance_below=given.appearance_below,
        near_duplicate=near.value,
    )


def _items(arguments: argparse.Namespace) -> list[Triple]:
    items = read_iharmony4(arguments.data, arguments.list)
    if not items:
        raise ValueError(f"the list '{arguments.list}' is empty")
    if lacking := missing_files(items):
        item, path = lacking[0]
        raise ValueError(
            f"{len(lacking)} of {len(items)} items lack a file, the first is '{item.root / path}'"
        )
    return items


def _merge(
    arguments: argparse.Namespace,
    items: Sequence[Triple],
    sidecar: dict[str, object],
    test_reals: Sequence[str],
) -> list[Listed]:
    """Parts -> list, sidecar and report, in the order of the list file."""
    answers = read_parts(arguments.out / "parts")
    missing = [item.composite for item in items if item.composite not in answers]
    assert not missing, f"{len(missing)} composites have no answer, the first is {missing[0]}"
    ordered = [answers[item.composite] for item in items]
    listed = [
        Listed(input=row["input"], mask=row["mask"], refs=tuple(ref["photo"] for ref in row["refs"]))
        for row in ordered
        if row["refs"]
    ]
    excluded: Counter[str] = Counter()
    for row in ordered:
        excluded.update(row["excluded"])
    sidecar |= {"excluded": {rule: excluded[rule] for rule in RULES}, "queries": len(items), "items": ordered}
    official = read_references(arguments.official) if arguments.official else published.official_list()
    asked = {item.composite for item in items}
    write_references(arguments.out / "references.jsonl", listed)
    write_text(arguments.out / "scores.json", json.dumps(sidecar) + "\n")
    known = [entry for entry in official if entry.input in asked]
    leaks = find_leaks(official, sorted({*test_reals, *reals_of(published.test_names())}))
    page = list_report(listed, known, leaks, sidecar, len(items))
    write_text(arguments.out / "report.md", page)
    print(page)


def run(arguments: argparse.Namespace) -> None:
    """Pool, hashes, queries, list: each step goes on where it was."""
    for name in ("workers", "batch_size"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(arguments, name)}")
    state = PartialState(cpu=arguments.device == "cpu")
    items = _items(arguments)
    reals = present_reals(arguments.data, arguments.data / arguments.pool)
    test_list = arguments.data / (arguments.test or TEST_LIST)
    test_reals = reals_of(item.composite for item in read_iharmony4(arguments.data, test_list.resolve()))
    arguments.out.mkdir(parents=True, exist_ok=True)
    encoder = build_encoder(
        arguments.encoder, weights=arguments.encoder_weights, device=arguments.device or state.device
    )
    gallery = _gallery(arguments, reals, encoder, state)
    hashes, near = _near_duplicates(arguments, items, reals, state)
    rules = make_rules(arguments, gallery, near)
    decided = {
        "rules": asdict(rules),
        "near_duplicates": asdict(near),
        "feature_spec": gallery.spec.to_json(),
        "pool": gallery.fingerprint,
        "pool_photos": len(gallery),
        "list": digest_of(item.composite for item in items),
        "test_reals": digest_of(test_reals),
    }
    parts = arguments.out / "parts"
    if state.is_main_process:
        old = [f"parts/{path.name}" for path in parts.glob("*.jsonl")]
        claim(arguments.out, decided | {"code": code_digest()}, arguments.overwrite, old)
        parts.mkdir(exist_ok=True)
    state.wait_for_everyone()
    done = read_parts(parts)
    state.wait_for_everyone()  # before anybody appends
    todo = [item for item in items if item.composite not in done][state.process_index :: state.num_processes]
    part = parts / f"{state.process_index:04d}.jsonl"
    drop_torn_line(part)
    pool = Pool(reals, test_reals)
    table = np.stack([hashes[photo] for photo in pool.photos]) if hashes else np.zeros((0, 0), np.int8)
    searcher = ClusterSearch(gallery, arguments.cluster) if arguments.cluster else None
    tools = QueryResources(gallery, encoder, pool, hashes, table, rules, searcher)
    with _bar(len(todo), "composite", state.is_main_process) as bar, torch.inference_mode():
        answer_all(
            todo, tools, part, workers=arguments.workers, batch_size=arguments.batch_size, progress=bar.update
        )
    state.wait_for_everyone()
    if state.is_main_process:
        _merge(arguments, items, decided, test_reals)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    kept = "what was done is kept, the same command goes on"
    return exit_code("build_raharmony4", lambda: run(arguments), kept=kept)
