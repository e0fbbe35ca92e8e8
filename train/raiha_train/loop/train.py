"""Train one experiment.

    accelerate launch train/train.py train/configs/smoke.py
    accelerate launch train/train.py train/configs/plus_small_data.py --data photos --illuminants ccharmony
    accelerate launch train/train.py train/configs/raiha.py --data IH4 --lists R.jsonl --encoder-weights DVT

The config says what is done, the command line where things lie. Two options change the result, and the
weights say that they were given: --set, which changes settings of the config, and --start. A run that was
stopped, by whatever, goes on when the same command is given again with --resume.
"""

import argparse
from pathlib import Path

from ..experiment import check_stages, load_stages
from ..settings import with_settings
from .provenance import git_revision, is_trained
from .run import LAST, run
from .state import whole_states
from .tracking import check_tracker


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train one experiment; its settings stand in its config, --set changes some of them.",
        epilog="example: accelerate launch train/train.py train/configs/smoke.py --output runs/smoke",
    )
    parser.add_argument("config", type=Path, help="a file of train/configs")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="FIELD=VALUE",
        help="settings of the config to change, as optimisation.rate=1e-3 batch=24; STAGE:FIELD=VALUE "
        "changes an earlier stage's",
    )
    parser.add_argument(
        "--data", type=Path, help="iHarmony4 root, or a folder of photos (default: assets/scenes)"
    )
    parser.add_argument(
        "--illuminants", type=Path, help="CCHarmony folder: measured matrices and train_list.txt"
    )
    parser.add_argument("--lists", type=Path, help="reference lists (JSON lines: input, refs)")
    parser.add_argument("--encoder-weights", type=Path, help="file or folder, where the encoder needs one")
    parser.add_argument("--output", type=Path, help="where the run lives (default: runs/NAME)")
    parser.add_argument("--cache", type=Path, help="where decoded photos are kept (default: OUTPUT/../cache)")
    parser.add_argument(
        "--start",
        type=Path,
        help="begin with these weights, whatever they were trained on, and not with an earlier stage's",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest whole state")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and draw the first batch"
    )
    parser.add_argument("--tracker", default="tensorboard", help="of Accelerate, or 'none'")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Train an experiment, before it the stages that it starts from unless they are trained. Returns: 0.

    Raises: ValueError for a config that does not hold up, weights of --start that are missing, an --output
        that an earlier stage needs, or a run that is there already without --resume.
    """
    arguments = parse_arguments(argv)
    check_tracker(arguments.tracker)
    git_revision()  # now: the checkout may move on while the run goes on
    *earlier, last = stages = with_settings(load_stages(arguments.config), arguments.set)
    check_stages(stages)
    if arguments.start is not None and not arguments.start.is_file():
        raise ValueError(f"there are no weights {arguments.start}")
    output = arguments.output or Path("runs") / last.name
    folders = [output.parent / stage.name for stage in earlier]
    if output in folders:
        raise ValueError(
            f"{output} is where an earlier stage of '{last.name}' belongs: give another --output"
        )
    begun = whole_states(output / "states")
    if begun and not (arguments.resume or arguments.dry_run):
        raise ValueError(
            f"{output / 'states'} holds a run already: give --resume to go on, or another --output"
        )
    start: Path | None = arguments.start
    if start is None:
        for stage, folder in zip(earlier, folders, strict=True):
            if not begun and not is_trained(folder / LAST, stage):
                run(stage, folder, start, arguments)
            start = folder / LAST
    # once: it ends what the processes share, too
    run(last, output, start, arguments).end_training()
    return 0
