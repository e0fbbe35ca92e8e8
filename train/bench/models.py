"""Parameters, multiply-adds, seconds and peak memory of every preset, beside `hdnet` of the same run.

    python train/bench/models.py --sizes 256 512 1024 --types float32 bfloat16 --out bench_output
    python train/bench/models.py --whole --out bench_output

`--whole` times `harmonize` from picture to picture, at 256, 1024 and 4096 pixels: the network at its own
size, and its answer rendered inside a disc of a sixth of the picture. Without it the network alone is run at
each size.
One picture without references, and `--references K` more rows for the presets that read them. Each row runs
in a process of its own, so that its peak memory is its own. Seconds are the least of several runs: on the CPU
with one thread CPU seconds, which a busy machine changes little; on a GPU the wall's, synchronised.
Content features are handed in ready-made: what an encoder costs is in `bench/features.py`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from raiha_core.checkpoint import LoadedCheckpoint, describe
from raiha_core.convert import convert_state
from raiha_core.durable import write_text
from raiha_core.features.patches import PatchFeatures
from raiha_core.features.references import ReferenceBatch
from raiha_core.harmonizer import NetworkHarmonizer
from raiha_core.models.cost import macs, parameters
from raiha_core.models.network import Network
from raiha_core.models.presets import PRESETS
from raiha_core.pipeline import harmonize
from raiha_train.command import command_parser

_ROOT = Path(__file__).resolve().parents[2]
BASE = "hdnet"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GRID = 12  # of ready-made content where any will do


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCost:
    """One line of the table."""

    preset: str
    size: int
    type: str
    references: int
    parameters: int
    macs: int
    seconds: float | None = None  # None: not run, see `note`
    peak_mib: float | None = None  # beyond the network and what torch itself takes
    note: str = ""


def memory_mib() -> float:
    """The most memory this process ever held."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def inputs(preset: str, size: int, references: int, device: str) -> tuple:
    """A picture with a disc of a sixth of its area, and what else the preset reads."""
    config = PRESETS[preset].config
    needs = config.requirements
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, size, size, generator=generator)
    axis = torch.linspace(-1, 1, size)
    mask = ((axis[:, None] ** 2 + axis**2).sqrt() < 0.46).float()[None, None]
    dim = getattr(config, "content_dim", 0) or 320
    grid = size // 8 if getattr(config, "content_dim", 0) else GRID
    reads = needs.content_without_references or (needs.content and references > 0)
    content = torch.randn(1, dim, grid, grid, generator=generator) if reads else None
    batch = None
    if references:
        batch = ReferenceBatch(
            images=torch.rand(1, references, 3, size, size, generator=generator).to(device),
            present=torch.ones(1, references, dtype=torch.bool, device=device),
            content=None
            if content is None
            else content[:, None].expand(-1, references, -1, -1, -1).to(device),
            spec=None if content is None else _spec(dim, grid),
        )
    return image.to(device), mask.to(device), None if content is None else content.to(device), batch


def _spec(dim: int, grid: int):
    from raiha_core.features.spec import FeatureSpec

    return FeatureSpec(
        name="bench",
        encoder="none",
        layer="none",
        input_size=grid,
        grid=grid,
        dim=dim,
        weights="",
        content_threshold=1.0,
        threshold_source="none: nothing is compared",
    )


def measure_model(
    preset: str, size: int, dtype: str, references: int, device: str, repeats: int
) -> ModelCost:
    """Run one preset here and now."""
    network = PRESETS[preset].build().eval().to(device)
    given = inputs(preset, size, references, device)
    cuda = device != "cpu"
    clock = time.perf_counter if cuda or torch.get_num_threads() > 1 else time.process_time
    before = 0.0 if cuda else memory_mib()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    seconds = float("inf")
    with (
        torch.inference_mode(),
        torch.autocast(torch.device(device).type, TYPES[dtype], enabled=dtype != "float32"),
    ):
        for _ in range(repeats + 1):  # the first warms up
            start = clock()
            network(*given)
            if cuda:
                torch.cuda.synchronize()
            seconds = min(seconds, clock() - start)
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else memory_mib()
    return ModelCost(
        preset=preset,
        size=size,
        type=dtype,
        references=references,
        parameters=parameters(network),
        macs=macs(PRESETS[preset], size, references),
        seconds=seconds,
        peak_mib=peak - before,
    )


def network_of(preset: str) -> Network:
    """Published networks with weights by formula, which our tests hold: their answers are of a usual size."""
    if PRESETS[preset].published is None:
        return PRESETS[preset].build(pretrained=False).eval()
    from tests.published_weights import state

    return convert_state(state(preset), "weights by formula", preset)[1]


def peak_memory_mib() -> float:
    """The most this process held since `forget_peak`; ever, where the system cannot forget."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return memory_mib()
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def forget_peak() -> None:
    """Count the peak from what is held now (Linux)."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def measure_whole(preset: str, size: int, device: str, repeats: int) -> ModelCost:
    """`harmonize` from picture to picture, here and now; above 1024 pixels once."""
    network = network_of(preset)
    config = PRESETS[preset].config
    needs = config.requirements
    about = describe(network, preset, data="-", licence="-")
    loaded = LoadedCheckpoint(
        network=network.to(device), preset=preset, config=config, metadata=about, spec=None
    )
    model = NetworkHarmonizer(preset, loaded)
    features = None
    if needs.content_without_references:
        _, _, content, _ = inputs(preset, needs.size, 0, device)
        spec = _spec(content.shape[1], content.shape[-1])
        appearance = torch.zeros(1, spec.histogram.bins, *content.shape[-2:])
        features = PatchFeatures(content, appearance, spec)
    cuda = device != "cpu"
    clock = time.perf_counter if cuda or torch.get_num_threads() > 1 else time.process_time
    image, mask, _, _ = inputs(preset, size, 0, device)
    small, small_mask, _, _ = inputs(preset, 256, 0, device)
    forget_peak()
    before = peak_memory_mib()
    harmonize(small, small_mask, model=model, features=features, as_stored=True)  # warms up
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    seconds = float("inf")
    for _ in range(repeats if size <= 1024 else 1):
        start = clock()
        harmonize(image, mask, model=model, features=features, as_stored=True)
        if cuda:
            torch.cuda.synchronize()
        seconds = min(seconds, clock() - start)
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else peak_memory_mib()
    return ModelCost(
        preset=preset,
        size=size,
        type="float32",
        references=0,
        parameters=parameters(network),
        macs=macs(PRESETS[preset], needs.size),
        seconds=seconds,
        peak_mib=peak - before,
    )


def in_its_own_process(
    arguments: argparse.Namespace, preset: str, size: int, dtype: str, references: int
) -> ModelCost:
    """The same in a child; a row that takes too long or does not fit says so."""
    command = [sys.executable, __file__, "--one", preset, str(size), dtype, str(references)]
    command += [
        "--device",
        arguments.device,
        "--threads",
        str(arguments.threads),
        "--repeats",
        str(arguments.repeats),
    ]
    command += ["--whole"] if arguments.whole else []
    places = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    note = ""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=arguments.limit,
            check=False,
            env=os.environ | {"PYTHONPATH": places},
        )
        if done.returncode == 0:
            return ModelCost(**json.loads(done.stdout))
        note = (done.stderr.strip().splitlines() or ["killed"])[-1][:120]
    except subprocess.TimeoutExpired:
        note = f"over {arguments.limit} s"
    network_parameters = parameters(PRESETS[preset].build(pretrained=False))
    return ModelCost(
        preset=preset,
        size=size,
        type=dtype,
        references=references,
        parameters=network_parameters,
        macs=macs(PRESETS[preset], size, references),
        note=note,
    )


def cost_table(rows: list[ModelCost]) -> str:
    """Markdown; the ratio is to the base of the same size and type, without references."""
    base = {(r.size, r.type): r.seconds for r in rows if r.preset == BASE}
    lines = [
        "| preset | size | type | references | parameters | GMAC | seconds | x hdnet | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shared = base.get((row.size, row.type))
        ratio = f"{row.seconds / shared:.3f}" if row.seconds and shared else "-"
        seconds = f"{row.seconds:.3f}" if row.seconds is not None else row.note
        peak = f"{row.peak_mib:.0f}" if row.peak_mib is not None else "-"
        lines.append(
            f"| {row.preset} | {row.size} | {row.type} | {row.references} | {row.parameters:,} "
            f"| {row.macs / 1e9:.3f} | {seconds} | {ratio} | {peak} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--sizes", nargs="+", type=int, help="default 256 512 1024")
    parser.add_argument("--whole", action="store_true", help="all of `harmonize`, at 256, 1024 and 4096")
    parser.add_argument("--types", nargs="+", default=["float32"], choices=list(TYPES))
    parser.add_argument("--references", type=int, default=0, help="also rows with this many (default: none)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, default=180, help="seconds per row before it is given up")
    parser.add_argument("--out", type=Path, help="folder for models.json and models.md")
    parser.add_argument("--one", nargs=4, metavar=("PRESET", "SIZE", "TYPE", "K"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.one:
        preset, size, dtype, references = arguments.one
        if arguments.whole:
            row = measure_whole(preset, int(size), arguments.device, arguments.repeats)
        else:
            row = measure_model(
                preset, int(size), dtype, int(references), arguments.device, arguments.repeats
            )
        print(json.dumps(asdict(row)))
        return
    presets = [BASE] + [name for name in arguments.presets if name != BASE]
    rows = []
    for size in arguments.sizes or ([256, 1024, 4096] if arguments.whole else [256, 512, 1024]):
        for dtype in arguments.types:
            for preset in presets:
                most = PRESETS[preset].requirements.max_references
                for references in sorted({0, min(arguments.references, most)}):
                    rows.append(in_its_own_process(arguments, preset, size, dtype, references))
                    print(cost_table(rows).splitlines()[-1], flush=True)
    text = cost_table(rows)
    print(text)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_text(arguments.out / "models.md", text + "\n")
        write_text(arguments.out / "models.json", json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
