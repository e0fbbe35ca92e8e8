"""What a weight file says about its making, and which earlier weights a run may begin with."""

import json
import platform
import subprocess
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from raiha_core import __version__, checkpoint
from raiha_core.models.network import Network

from ..data.training_data import TrainingData
from ..experiment import Experiment, setting_differences, up_to_date
from .state import LoopState, weights_hash
from .validation import Validation

GIVEN = "given"  # how the words begin that tell of weights named by --start


def is_trained(path: Path, stage: Experiment) -> bool:
    """Whether the weights of a stage are there.

    Raises: ValueError where they are of another config, or began with weights that no config names.
    """
    if not path.is_file():
        return False
    notes = checkpoint.read_metadata(path).notes
    if notes.get("start", "").startswith(GIVEN):
        raise ValueError(
            f"{path} began with weights that were {notes['start']}; give --start {path} to go on from it"
        )
    made_by = up_to_date(json.loads(notes.get("experiment", "{}")))
    if other := setting_differences(made_by, stage.to_json()):
        raise ValueError(f"{path} was trained with another config: {'; '.join(other)}")
    return True


def begin_with(network: Network, path: Path, data: str | None) -> str:
    """The weights of an earlier stage; what that stage did not have keeps its own beginning.

    A gate of references is left out: it was fitted to the weights as they were.
    Args: data: fingerprint of what the weights must have been trained on; None: of anything.
    Returns: which weights these are, in words; where they may be of other data, of which and its terms, too.
    Raises: ValueError naming the file where it is of another network, or was trained on other data.
    """
    loaded = checkpoint.load(path)
    about = loaded.metadata.notes
    if data is not None and about.get("data_fingerprint") != data:
        raise ValueError(f"{path} was trained on other data: {about.get('data_fingerprint')} != {data}")
    own = network.state_dict()
    given = loaded.network.state_dict()
    unknown = sorted(set(given) - set(own))
    other = sorted(name for name in set(given) & set(own) if given[name].shape != own[name].shape)
    if unknown or other:
        raise ValueError(f"{path} does not fit '{network.name}': {', '.join((unknown + other)[:4])}")
    network.load_state_dict(given, strict=False)
    name = json.loads(about.get("experiment", "{}")).get("name", path.name)
    words = f"{name}, {about.get('step', 'unknown')} steps, {weights_name(loaded)}"
    if data is not None:
        return words
    return f"{GIVEN}: {words}; of {loaded.metadata.data}; terms: {loaded.metadata.licence}"


def weights_name(loaded: checkpoint.LoadedCheckpoint) -> str:
    gate = None if loaded.gate is None else loaded.gate.gate
    return f"weights {weights_hash(loaded.network, gate)[:8]}"


def check_same_start(path: Path, begun_with: str) -> None:
    """Raises: ValueError where a run that is resumed began with other weights than those now given."""
    if (name := weights_name(checkpoint.load(path))) not in begun_with:
        raise ValueError(
            f"this run began with {begun_with or 'weights of its own'}, not with {path} ({name})"
        )


def provenance(experiment: Experiment, sources: TrainingData, state: LoopState) -> dict[str, str]:
    """What a weight file must say about how it was made."""
    return {
        **({"start": state.start} if state.start else {}),
        "experiment": json.dumps(experiment.to_json(), sort_keys=True),
        "step": str(state.step),
        "pictures_seen": str(state.step * experiment.batch),
        "data_fingerprint": sources.fingerprint,
        "versions": f"raiha {__version__}, torch {torch.__version__}, python {platform.python_version()}",
        "revision": git_revision(),
    }


@cache
def git_revision() -> str:
    """The commit that the code was at when this was first asked; "" without git, or outside a checkout."""
    return commit_at(Path(__file__).resolve().parents[3])


def commit_at(checkout: Path) -> str:
    """The commit that git says is checked out in this very folder; "" where it knows none."""
    call = ["git", "-C", str(checkout), "rev-parse", "--show-prefix", "HEAD"]
    try:
        said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    below, commit = said.split("\n")[:2]
    return "" if below else commit  # a copy without its .git may lie inside another project's checkout


def write_weights(
    path: Path,
    network: Network,
    experiment: Experiment,
    sources: TrainingData,
    state: LoopState,
    found: Validation | None,
) -> None:
    """Keep a network with all that is known of it; `found` is None where nothing was held out."""
    values = {} if found is None else asdict(found)
    scores = {f"validation {name}": float(value) for name, value in values.items()}
    about = checkpoint.describe(
        network,
        experiment.preset,
        spec=None if sources.encoder is None else sources.encoder.spec,
        data=sources.about,
        scores=scores,
        licence=sources.licence,
        notes=provenance(experiment, sources, state),
    )
    checkpoint.save(path, network, about)
