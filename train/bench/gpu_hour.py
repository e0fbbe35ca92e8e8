"""The first minutes on a GPU: everything that is measured there, in one command and one table.

Example: python train/bench/gpu_hour.py --out gpu_hour.md --authors theirs.py --minutes 10
Training steps in fp32, bf16 and compiled beside the authors' loop, a large photo harmonized, a gallery built
and searched. It looks for what it imports first, writes the table after every row, and skips, with the
reason, what fails or what the minutes no longer allow. --authors names a file, kept outside the repository,
that defines `make_step(device, size, batch)`: it returns a call without arguments, one of their training
steps on random pictures. --tiny is the rehearsal: everything at sizes that a CPU does in seconds.
"""

import argparse
import importlib.util
import runpy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

_NEEDED = ("torch", "timm", "einops", "safetensors", "accelerate", "numpy", "PIL", "tqdm")
_TRAINED = ("raiha", "raiha-plus", "pctnet-cnn")
_HEAD = "| what | setting | figure | unit | peak MiB |\n|---|---|---|---|---|\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much of each there is."""

    train: int = 256
    batch: int = 32
    repeats: int = 20
    photo: int = 4096
    photos: int = 400
    photo_side: int = 640
    queries: int = 50
    rendered: tuple[str, ...] = ("statistics", "raiha-plus", "pctnet-cnn")


_TINY = Sizes(
    train=32, batch=2, repeats=1, photo=96, photos=4, photo_side=48, queries=2, rendered=("statistics",)
)


@dataclass
class Measured:
    """The table so far, and the time that is left."""

    out: Path
    device: str
    until: float  # by `time.monotonic`
    rows: list[str] = field(default_factory=list)

    def write(self, what: str, setting: str, figure: str, unit: str = "", memory: str = "") -> None:
        self.rows.append(f"| {what} | {setting} | {figure} | {unit} | {memory} |")
        print(self.rows[-1], flush=True)
        self.out.write_text(_HEAD + "\n".join(self.rows) + "\n", encoding="utf-8")

    def measure(self, what: str, setting: str, unit: str, work: Callable[[], float]) -> None:
        """A row of what `work` returns; where it fails, of the reason."""
        if time.monotonic() > self.until:
            self.write(what, setting, "skipped: the minutes are over")
            return
        begun = time.monotonic()
        try:
            with memory_of(self.device) as peak:
                figure = work()
        except Exception as error:  # one row must not take the others with it
            first = (str(error).strip().splitlines() or [""])[0]
            self.write(what, setting, f"failed: {type(error).__name__}: {first[:150]}")
        else:
            self.write(what, setting, f"{figure:.2f}" if figure >= 1 else f"{figure:.3g}", unit, peak[0])
        print(f"  {time.monotonic() - begun:.0f} s", flush=True)


@contextmanager
def memory_of(device: str) -> Iterator[list[str]]:
    """A list that holds, after the block, the most memory that a GPU had given out in it."""
    import torch

    peak = [""]
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield peak
    if device.startswith("cuda"):
        peak[0] = f"{torch.cuda.max_memory_allocated() / 2**20:.0f}"


def missing() -> list[str]:
    """The packages that are not here."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def make_step(name: str, sizes: Sizes, device: str, precision: str, compiled: bool) -> Callable[[], object]:
    """A training step of a preset on random pictures: loss, gradients, optimizer, as the loop does it."""
    import torch

    from raiha_core.models.presets import PRESETS
    from raiha_core.value_reading import unread
    from raiha_train.data.batch import Batch
    from raiha_train.experiment import Experiment
    from raiha_train.loop.objective import Objective
    from raiha_train.loop.optimizer import make_optimizer

    preset = PRESETS[name]
    config = replace(preset.config, size=sizes.train)
    needs = config.requirements
    experiment = Experiment(
        name="bench",
        preset=name,
        network=config,
        size=sizes.train,
        batch=sizes.batch,
        micro_batch=sizes.batch,
        steps=1,
        encoder="lite0" if needs.content else "",  # its features are drawn at random, below
    )
    torch.manual_seed(0)
    network = preset.build(config=config, pretrained=False)
    objective = Objective(network, experiment).to(device).train()
    if compiled:
        network.compile()
    optimizer = make_optimizer(objective, experiment)
    side, batch = sizes.train, sizes.batch
    target, composite = torch.rand(2, batch, 3, side, side, device=device)
    mask = torch.zeros(batch, 1, side, side, device=device)
    mask[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    pictures = Batch(
        composite=torch.where(mask > 0, composite, target), mask=mask, target=target, ids=("",) * batch
    )
    content = None
    if needs.content_without_references:
        content = torch.rand(batch, needs.content_dim or 320, 12, 12, device=device)
    draws = torch.Generator(device)
    kind = torch.device(device).type

    def step() -> object:
        with torch.autocast(kind, torch.bfloat16) if precision == "bf16" else nullcontext(), unread():
            loss, _ = objective(pictures, content, draws)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()
        return loss

    return step


def per_second(step: Callable[[], object], pictures: int, repeats: int, device: str) -> float:
    """Pictures a second, after two steps that warm up."""
    from raiha_train.loop.benchmarks import rate

    step()
    return rate(lambda _: step(), pictures, repeats, device)


def training(report: Measured, sizes: Sizes, authors: Path | None) -> None:
    setting = f"{sizes.train} px, batch {sizes.batch}"
    if authors is not None:

        def theirs() -> float:
            step = runpy.run_path(str(authors))["make_step"](report.device, sizes.train, sizes.batch)
            return per_second(step, sizes.batch, sizes.repeats, report.device)

        report.measure("training, the authors' loop", setting, "img/s", theirs)
    for name in _TRAINED[:1] if sizes is _TINY else _TRAINED:
        for precision, compiled in (("fp32", False), ("bf16", False), ("fp32", True), ("bf16", True)):
            if compiled and sizes is _TINY:
                continue  # a compiler takes longer than all the rest

            def ours(name: str = name, precision: str = precision, compiled: bool = compiled) -> float:
                step = make_step(name, sizes, report.device, precision, compiled)
                return per_second(step, sizes.batch, sizes.repeats, report.device)

            how = precision + (", compiled" if compiled else "")
            report.measure(f"training, {name}", f"{setting}, {how}", "img/s", ours)


def harmonizer_of(name: str, folder: Path, device: str) -> object:
    """A harmonizer by name; of a preset whose weights are not here, with fresh ones: time is the same."""
    from raiha_core import checkpoint
    from raiha_core.harmonizer import load_harmonizer, shipped_weights
    from raiha_core.models.presets import PRESETS

    if name == "statistics" or name in shipped_weights():
        return load_harmonizer(name, device)
    network = PRESETS[name].build(pretrained=False).eval()
    file = folder / f"{name}.safetensors"
    checkpoint.save(file, network, checkpoint.describe(network, name, data="none", licence="-"))
    return load_harmonizer(file, device)


def rendering(report: Measured, sizes: Sizes) -> None:
    import torch

    from raiha_core.pipeline import harmonize

    side = sizes.photo
    image = torch.rand(1, 3, side, side, device=report.device)
    mask = torch.zeros(1, 1, side, side, device=report.device)
    mask[..., side // 4 : side // 2, side // 4 : 3 * side // 4] = 1
    for name in sizes.rendered:

        def seconds(name: str = name) -> float:
            with TemporaryDirectory() as folder:
                model = harmonizer_of(name, Path(folder), report.device)
            harmonize(image, mask, model=model)
            begun = time.perf_counter()
            harmonize(image, mask, model=model).sum().item()  # waits for the answer
            return time.perf_counter() - begun

        report.measure(f"harmonize, {name}", f"{side} x {side} px", "s", seconds)


def galleries(report: Measured, sizes: Sizes) -> None:
    import numpy as np
    import torch
    from PIL import Image

    from raiha_core.features.encoders import build_encoder
    from raiha_core.gallery.build import build
    from raiha_core.gallery.store import open_gallery
    from raiha_core.resizing import BICUBIC, resize_codes
    from raiha_core.retrieval.search import make_query, search_many

    draws, side = np.random.default_rng(0), sizes.photo_side
    with TemporaryDirectory() as folder:
        photos, store = Path(folder) / "photos", Path(folder) / "store"
        photos.mkdir()
        for i in range(sizes.photos):
            coarse = draws.integers(0, 255, (7, 9, 3), dtype=np.uint8)
            pixels = resize_codes(coarse, (side, side * 3 // 4), BICUBIC)
            Image.fromarray(pixels).save(photos / f"{i}.jpg")

        def built() -> float:
            encoder = build_encoder("lite0", device=report.device)
            begun = time.perf_counter()
            build(photos, store, encoder=encoder, workers=1 if sizes is _TINY else 8)
            return sizes.photos / (time.perf_counter() - begun)

        report.measure("gallery build, lite0", f"{sizes.photos} photos of {side} px", "photos/s", built)

        def asked() -> float:
            gallery, encoder = open_gallery(store), build_encoder("lite0", device=report.device)
            mask = torch.zeros(1, 1, side, side)
            mask[..., side // 4 : side // 2, side // 4 : side // 2] = 1
            queries = [
                make_query(torch.rand(1, 3, side, side), mask, encoder=encoder) for _ in range(sizes.queries)
            ]
            begun = time.perf_counter()
            search_many(gallery, queries, device=report.device)
            return sizes.queries * len(gallery) / (time.perf_counter() - begun)

        report.measure("search", f"{sizes.queries} queries at once", "photos/s", asked)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu_hour.md"), help="the table (Markdown)")
    parser.add_argument("--authors", type=Path, help="a file that defines make_step(device, size, batch)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=10.0, help="nothing is begun after nine tenths")
    parser.add_argument("--tiny", action="store_true", help="rehearse, at sizes of seconds")
    arguments = parser.parse_args(argv)
    if absent := missing():
        print(f"gpu_hour: not installed: {', '.join(absent)}")
        return 1
    import torch

    until = time.monotonic() + 54 * arguments.minutes
    report = Measured(out=arguments.out, device=arguments.device, until=until)
    name = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else arguments.device
    report.write("machine", f"torch {torch.__version__}", name)
    sizes = _TINY if arguments.tiny else Sizes()
    training(report, sizes, arguments.authors)
    rendering(report, sizes)
    galleries(report, sizes)
    print(f"kept in {arguments.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
