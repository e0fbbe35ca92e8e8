"""Truths that hold for every picture, mask, model and gallery, held by hypothesis."""

import copy
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from raiha_core import checkpoint, controls, render, strips
from raiha_core.controls import Controls
from raiha_core.features.references import Reference
from raiha_core.harmonizer import Harmonizer, NetworkHarmonizer, StatisticsHarmonizer, load_harmonizer
from raiha_core.images import read_picture, write_picture
from raiha_core.mask_shape import shaped
from raiha_core.models.reference_gate import FittedGate, ReferenceGate
from raiha_core.pipeline import harmonize
from raiha_core.retrieval import oracle
from raiha_core.retrieval.search import search_many
from tests.network_cases import fill, small
from tests.retrieval_cases import make_gallery, make_query, make_spec, random_patches
from tests.statistics_cases import SPEC, match, reference

from .grammar import first_fault
from .part import Part
from .processes import end_of, start

_CASES = 20
_BY_LOW_STRIPS = 1e-5  # the most that strips of less than 32 rows may change: 8.1e-6 was seen
_BY_THREADS = 5e-6  # the most that another number of threads may change: 3.8e-6 was seen, and 2e-6 is wanted
_DTYPES = (torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64)
# the others take seconds for each picture, or a backbone of many megabytes
_SMALL = ("pctnet-vit", "issam256", "idih256", "rainnet", "dccf-issam", "cdtnet", "bargainnet", "harmonizer")
SIDES = st.tuples(st.integers(16, 40), st.integers(16, 40))
SEEDS = st.integers(0, 1 << 30)


@cache
def model(name: str) -> Harmonizer:
    """A harmonizer by its name: the statistics, the shipped network, or a small one with lively weights."""
    if name == "statistics":
        return StatisticsHarmonizer()
    if not name.startswith("small "):
        return load_harmonizer(name)
    preset = name.removeprefix("small ")
    network = fill(small(preset)).eval().requires_grad_(False)
    about = checkpoint.describe(network, preset)
    loaded = checkpoint.LoadedCheckpoint(
        network=network, preset=preset, config=network.config, metadata=about, spec=None
    )
    return NetworkHarmonizer(preset, loaded)


MODELS = st.sampled_from(("statistics", "statistics", "raiha-plus", "small hdnet", "small pctnet-cnn"))
EVERY = st.one_of(MODELS, st.sampled_from(_SMALL).map(lambda name: f"small {name}"))


def picture(number: int, height: int, width: int, batch: int = 1) -> Tensor:
    """Noise, flat colours and black or white, by a seed."""
    generator = torch.Generator().manual_seed(number)
    kind = number % 4
    if kind == 0:
        return torch.rand(batch, 3, height, width, generator=generator)
    if kind == 1:
        return torch.rand(batch, 3, 1, 1, generator=generator).expand(-1, -1, height, width).contiguous()
    if kind == 2:
        return (torch.rand(batch, 3, height, width, generator=generator) > 0.5).float()
    small_one = torch.rand(batch, 3, 4, 4, generator=generator)
    return small_one.repeat_interleave(height // 4 + 1, 2).repeat_interleave(width // 4 + 1, 3)[
        ..., :height, :width
    ]


def mask_of(number: int, height: int, width: int, batch: int = 1) -> Tensor:
    """A mask with something outside it: hard, soft, or islands; some pixels are exactly 0."""
    generator = torch.Generator().manual_seed(number + 1)
    mask = torch.zeros(batch, 1, height, width)
    top, left = int(torch.randint(height // 2, (), generator=generator)), number % (width // 2)
    part = (..., slice(top, top + height // 3 + 1), slice(left, left + width // 3 + 1))
    if number % 3 == 0:
        mask[part] = 1
    elif number % 3 == 1:
        mask[part] = torch.rand(mask[part].shape, generator=generator)
    else:
        mask[part] = (torch.rand(mask[part].shape, generator=generator) > 0.3).float()
    mask[..., top, left] = 1
    return mask


CONTROLS = st.builds(
    Controls,
    light=st.sampled_from((0.0, 1.0, 1.7)),
    colour=st.sampled_from((0.0, 1.0, 2.0)),
    contrast=st.sampled_from((0.0, 1.0, 1.3)),
    limit=st.sampled_from((0.0, 3.0, 100.0)),
    keep_hue=st.booleans(),
    grow=st.integers(-2, 3),
    feather=st.sampled_from((0, 0, 3)),
    context=st.sampled_from((-1.0, 0.0, 1.0)),
    local_light=st.sampled_from((0.0, 0.0, 0.0, 1.0, 2.0)),
)


@contextmanager
def strips_of(numbers: int) -> Iterator[None]:
    """Inside the block pictures are worked on in strips of so many numbers."""
    before = strips.STRIP_NUMBERS, render.STRIP_PIXELS, controls.STRIP_PIXELS
    strips.STRIP_NUMBERS = numbers
    render.STRIP_PIXELS = controls.STRIP_PIXELS = max(1, numbers // 3)
    try:
        yield
    finally:
        strips.STRIP_NUMBERS, render.STRIP_PIXELS, controls.STRIP_PIXELS = before


def outside(number: int, place: Path) -> str | None:
    """Outside the mask the output is the input, bit for bit."""

    def judge(example: tuple) -> str:
        name, (height, width), seed, kind, strip, strength, set_to = example
        composite, mask = picture(seed, height, width).to(kind), mask_of(seed, height, width)
        with strips_of(strip):
            result = harmonize(composite, mask, model=model(name), strength=strength, controls=set_to)
        still = (shaped(mask, set_to.grow, set_to.feather) <= 0).expand_as(result)
        same = torch.equal(result[still], composite[still])
        if result.min() < 0 or result.max() > 1:
            return f"{name}: the result leaves 0..1"
        if result.dtype != kind or not torch.isfinite(result).all():
            return f"{name}: the result is {result.dtype} or not finite"
        return "" if same else f"{name}: a pixel outside the mask has changed"

    strategy = st.tuples(
        EVERY, SIDES, SEEDS, st.sampled_from(_DTYPES), st.sampled_from((30, 200, 1 << 20)),
        st.sampled_from((0.0, 0.4, 1.0, 2.0)), CONTROLS,
    )  # fmt: skip
    return first_fault(number, _CASES, strategy, judge)


def batch(number: int, place: Path) -> str | None:
    """A batch is its single pictures: within 2e-6, one code in 8 and 16 bits."""

    def judge(example: tuple) -> str:
        name, (height, width), seed = example
        composite, mask = picture(seed, height, width, 3), mask_of(seed, height, width, 3)
        whole = harmonize(composite, mask, model=model(name))
        for row in range(3):
            one = harmonize(composite[row : row + 1], mask[row : row + 1], model=model(name))
            if (one - whole[row : row + 1]).abs().max() > 2e-6:
                return f"{name}: picture {row} of a batch differs from itself alone"
            for full in (255, 65535):
                codes = (one * full).round() - (whole[row : row + 1] * full).round()
                if codes.abs().max() > 1:
                    return f"{name}: picture {row} of a batch differs by more than one code of {full}"
        return ""

    return first_fault(number, _CASES, st.tuples(EVERY, SIDES, SEEDS), judge)


def _references(seed: int) -> list[Reference]:
    rng = np.random.default_rng(seed)
    found = []
    for n in range(3):
        cells = rng.integers(0, 16, 6)
        matches = tuple(match(5, int(cell)) for cell in sorted({*cells.tolist()}))
        found.append(reference(picture(seed + n, 64, 64), matches, (match(0, 12),)))
    return [
        Reference(
            id=f"r{n}",
            image=one.image,
            score=1.0 - n / 10,
            features=one.features,
            content_matches=one.content_matches,
            illumination_matches=one.illumination_matches,
            similarity_margin=one.similarity_margin,
        )
        for n, one in enumerate(found)
    ]


@cache
def _gate() -> FittedGate:
    """A gate with lively weights, which tells references apart, in the space of the references here."""
    torch.manual_seed(0)
    gate = ReferenceGate()
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.normal_(0, 0.3)
    return FittedGate(gate.eval().requires_grad_(False), SPEC)


def permutation(number: int, place: Path) -> str | None:
    """The order in which references come changes nothing."""

    def judge(example: tuple) -> str:
        name, seed, order, share = example
        asked = copy.copy(model(name))
        asked.gate = _gate()
        composite, mask = picture(seed, 64, 64), mask_of(seed, 64, 64)
        given = _references(seed)
        set_to = Controls(reference_strength=share)
        first = harmonize(composite, mask, given, asked, controls=set_to)
        second = harmonize(composite, mask, [given[n] for n in order], asked, controls=set_to)
        return "" if (first - second).abs().max() <= 1e-5 else f"{name}: the order of references matters"

    names = st.sampled_from(("statistics", "small hdnet"))
    strategy = st.tuples(names, SEEDS, st.permutations(range(3)), st.sampled_from((-1.0, 0.5, 1.0)))
    return first_fault(number, 8, strategy, judge)


def slow_twin(number: int, place: Path) -> str | None:
    """The search finds what the equations say, in the order they say, ties by id."""

    def judge(example: tuple) -> str:
        seed, count, by, limits, doubled, foreground = example
        spec = make_spec(grid=2, dim=5)
        content, histogram = random_patches(spec, count, seed)
        for row in doubled:  # ties
            content[row % count], histogram[row % count] = content[0], histogram[0]
        gallery = make_gallery(spec, content, histogram)
        query = make_query(spec, content[-1], histogram[-1], foreground)
        found = search_many(
            gallery, [query], by=by, top_k=None, one_place=False,
            content_threshold=limits[0], appearance_threshold=limits[1],
        )[0]  # fmt: skip
        block = gallery.gather(range(len(gallery)))
        ids = [photo.id for photo in gallery.photos]
        wanted = oracle.ranked(query, block.content, block.histogram, ids, by, *limits)
        return "" if [item.photo.id for item in found.items] == wanted else f"by {by}: another order or set"

    strategy = st.tuples(
        SEEDS, st.integers(1, 9), st.sampled_from(("both", "content", "illumination")),
        st.tuples(st.sampled_from((0.1, 0.5, 0.8, 0.95)), st.sampled_from((0.3, 0.6, 0.9))),
        st.lists(st.integers(0, 8), max_size=3),
        st.sets(st.integers(0, 3), min_size=1, max_size=3).map(sorted),
    )  # fmt: skip
    return first_fault(number, _CASES, strategy, judge)


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


# a forked process must not start threads where its parent may have had some: this one is begun anew
_THREADS = """
import json, sys, numpy, torch
torch.set_num_threads(3)
from tests.torture import truths
name, height, width, seed, light, grow = json.loads(sys.argv[2])
composite, mask = truths.picture(seed, height, width), truths.mask_of(seed, height, width)
controls = truths.Controls(light=light, contrast=light, grow=grow)
found = truths.harmonize(composite, mask, model=truths.model(name), controls=controls)
numpy.save(sys.argv[1], found.numpy())
"""


def same_bytes(number: int, place: Path) -> str | None:
    """Neither the strips' height nor the process changes a byte; threads change no more than 5e-6."""

    def judge(example: tuple) -> str:
        name, (height, width), seed, rows, set_to = example
        composite, mask = picture(seed, height, width), mask_of(seed, height, width)

        def run() -> Tensor:
            return harmonize(composite, mask, model=model(name), controls=set_to)

        whole = run()
        with strips_of(3 * rows * width):
            again = run()
        if not torch.equal(again, whole) and rows % 32 == 0:
            return f"{name}: strips of {rows} rows change the bytes"
        if (most := float((again - whole).abs().max())) > _BY_LOW_STRIPS:
            return f"{name}: strips of {rows} rows change {most:.1e}"
        if seed % 5 == 0 and hasattr(os, "fork"):
            told = place / "digest"
            if end_of(start(lambda: told.write_text(_digest(run())))):
                return f"{name}: another process fails"
            if told.read_text() != _digest(whole):
                return f"{name}: another process gives other bytes"
        kept = place / "threads.npy"
        if seed % 5 == 1 and not kept.exists():  # once a trial, as it takes a process of its own
            asked = json.dumps([name, height, width, seed, set_to.light, set_to.grow])
            call = [sys.executable, "-c", _THREADS, str(kept), asked]
            if subprocess.run(call, cwd=Path(__file__).parents[2], timeout=100, check=False).returncode:
                return f"{name}: with three threads it fails"
            most = float((torch.from_numpy(np.load(kept)) - whole).abs().max())
            if most > _BY_THREADS:
                return f"{name}: three threads change {most:.1e}"
        return ""

    # where light and contrast go apart, sums over strips of another height round differently
    alike = CONTROLS.map(lambda set_to: Controls(light=set_to.light, contrast=set_to.light, grow=set_to.grow))
    sides = st.tuples(st.integers(70, 130), st.integers(16, 32))
    strategy = st.tuples(MODELS, sides, SEEDS, st.sampled_from((1, 7, 32, 32, 64)), alike)
    return first_fault(number, _CASES, strategy, judge)


def saved(number: int, place: Path) -> str | None:
    """What is saved, loaded and saved again has the same bytes."""

    def judge(example: tuple) -> str:
        preset, seed, half = example
        torch.manual_seed(seed)
        network = small(preset)
        for parameter in network.parameters():
            parameter.data.normal_(0, 0.1)
        about = checkpoint.describe(network, preset, data=f"ä {seed}", scores={"x": seed / 7})
        first, second = place / "first.safetensors", place / "second.safetensors"
        checkpoint.save(first, network, about, dtype=torch.float16 if half else None)
        loaded = checkpoint.load(first)
        checkpoint.save(second, loaded.network, loaded.metadata, dtype=torch.float16 if half else None)
        return "" if first.read_bytes() == second.read_bytes() else f"{preset}: saved again, other bytes"

    strategy = st.tuples(st.sampled_from(("hdnet", "pctnet-cnn", "rainnet")), SEEDS, st.booleans())
    return first_fault(number, 4, strategy, judge)


def grown(number: int, place: Path) -> str | None:
    """Shrinking what was grown leaves no less than the mask; growing what was shrunk no more."""

    def judge(example: tuple) -> str:
        (height, width), seed, pixels = example
        mask = mask_of(seed, height, width)
        more, less = shaped(shaped(mask, pixels), -pixels), shaped(shaped(mask, -pixels), pixels)
        if not (more >= mask).all():
            return "shrunk after growing, the mask lost something"
        return "" if (less <= mask).all() else "grown after shrinking, the mask gained something"

    return first_fault(number, 2 * _CASES, st.tuples(SIDES, SEEDS, st.integers(1, 9)), judge)


def lossless(number: int, place: Path) -> str | None:
    """A picture that is written without loss and read again is itself."""

    def judge(example: tuple) -> str:
        ending, depth, height, width, seed, with_alpha = example
        depth = {"webp": 8, "png": min(depth, 16)}.get(ending, depth)
        pixels = picture(seed, height, width)
        full = {8: 255, 16: 65535}.get(depth)
        codes = pixels if full is None else (pixels * full).round() / full
        write_picture(place / f"near.{ending}", pixels, bit_depth=depth)
        if (read_picture(place / f"near.{ending}").pixels - pixels).abs().max() > 0.501 / (full or 1):
            return f"{ending}, {depth} bits: a value was not rounded to the nearest code"
        alpha = codes[:, :1].contiguous() if with_alpha and depth != 32 else None
        path = place / f"a.{ending}"
        write_picture(path, codes, bit_depth=depth, alpha=alpha)
        read = read_picture(path)
        if ending == "webp" and alpha is not None and (alpha == 1).all():
            alpha = None  # its encoder writes none where everything is opaque
        if alpha is not None and (read.alpha is None or not torch.equal(read.alpha, alpha)):
            return f"{ending}, {depth} bits: another alpha came back"
        near = 1e-4 if full is None else 1e-7
        if full is None:  # light is written; sRGB comes back through a curve and its inverse
            return "" if (read.pixels - codes).abs().max() <= near else f"{ending}, floats: another picture"
        same = torch.equal((read.pixels * full).round(), (codes * full).round())
        return "" if same else f"{ending}, {depth} bits: another picture came back"

    strategy = st.tuples(
        st.sampled_from(("png", "tif", "webp")), st.sampled_from((8, 16)), st.integers(1, 30),
        st.integers(1, 30), SEEDS, st.booleans(),
    )  # fmt: skip
    return first_fault(number, _CASES, strategy, judge)


def _part(name: str, trial: Callable[[int, Path], str | None], cases: int) -> Part:
    return Part(
        name=f"truths-{name}", trial=trial, full=-(-10_000 // cases), seconds=120, share=0.8, cases=cases
    )


PARTS = (
    _part("outside", outside, _CASES),
    _part("batch", batch, _CASES),
    _part("permutation", permutation, 8),
    _part("search", slow_twin, _CASES),
    _part("bytes", same_bytes, _CASES),
    _part("saved", saved, 4),
    _part("grown", grown, 2 * _CASES),
    _part("lossless", lossless, _CASES),
)
