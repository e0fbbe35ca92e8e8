"""Pictures per second: the loader alone, the step alone, both together.

Example: python train/bench/loader.py --config hdnet --size 256 --batch 4
The loader is what the reading thread does (`Feed.raw`); composites are made on the device, by the loop.
"both" is what a run sees. Packed photos lie in memory once they are read, the shipped ones as any. All lines
are from the same minute of the same machine.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from raiha_core.models.presets import PRESETS
from raiha_train.command import command_parser
from raiha_train.data.feed import prefetch
from raiha_train.loop.benchmarks import CONFIGS, benched, opened, rate
from raiha_train.loop.objective import Objective


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--config", default="hdnet", help=f"a name of {CONFIGS.name}/")
    parser.add_argument("--data", type=Path, help="folder of photos (default: assets/scenes)")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument(
        "--repeats", type=int, default=3, help="timed steps; the loader does ten times as many"
    )
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    experiment = benched(arguments.config, arguments.size, arguments.batch)
    with TemporaryDirectory() as folder:
        feed = opened(experiment, arguments.data, Path(folder), arguments.device).training
        objective = Objective(PRESETS[experiment.preset].build(config=experiment.network), experiment)
        objective.to(arguments.device).train()
        optimizer = torch.optim.Adam(objective.parameters(), lr=1e-4)
        fixed = feed.finish(feed.raw(0), 0)
        generator = torch.Generator(arguments.device)

        def step(batch: object) -> None:
            optimizer.zero_grad()
            loss, _ = objective(batch, None, generator)
            loss.backward()
            optimizer.step()

        ahead = prefetch(feed, range(arguments.repeats + 1))

        def both(_: int) -> None:
            k, raw = next(ahead)
            step(feed.finish(raw, k))

        count, device = arguments.batch, arguments.device
        loader = rate(feed.raw, count, 10 * arguments.repeats, device)
        made = rate(lambda k: feed.finish(feed.raw(k), k), count, arguments.repeats, device)
        alone = rate(lambda _: step(fixed), count, arguments.repeats, device)
        together = rate(both, count, arguments.repeats, device)
    threads = torch.get_num_threads()
    print(f"{arguments.config} at {arguments.size} px, batch {count}, {device}, {threads} threads")
    print("| what | img/s |\n|---|---|")
    print(f"| loader alone | {loader:.1f} |\n| loader and synthesis | {made:.1f} |")
    print(f"| step alone | {alone:.2f} |\n| both | {together:.2f} |")
    print(f"loader / step: {loader / alone:.1f}; both / step: {together / alone:.0%}")


if __name__ == "__main__":
    main()
