"""The authors' weight files as networks of ours: whose they are is read off, and every tensor fits or none.

Nothing in a file is run, and nothing is guessed: names and shapes say which network it is. Where networks
have the same ones (CDTNet's), the digest says which of the authors' files it is; a file of another digest is
the first preset of the list unless another is asked for, and what is written says so.
"""

import hashlib
import pickle
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from .checkpoint import Metadata, describe, state_differences
from .models import hdnet_files
from .models.blocks import Operations
from .models.cost import on_meta
from .models.network import Network, NetworkConfig
from .models.presets import filed
from .models.published import Published, split_projections, their_name
from .parted import Part, joined, part_of, partners, parts_of
from .reasons import one_line
from .regular import file_digest

_NEAR = 0.5  # of the tensors in name and shape: a file that has as many is that network's, damaged
WRAPPERS = ("state_dict", "model", "model_state")
# what torch's reader says where it meets anything but tensors, numbers and text
_OBJECTS = ("Unsupported global", "Unsupported class", "unrecognized function", "build instruction")
MOST_ENTRIES = 20_000  # tensors in one file; the largest network here has 1,045


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyMatch:
    """A network that a state may belong to."""

    preset: str
    config: NetworkConfig
    names: dict[str, str]  # theirs -> ours
    wanted: dict[str, Tensor]  # by their names, on the meta device
    idle: tuple[str, ...] = ()  # how the names of ours begin that a file may leave out


def convert(
    path: Path, preset: str | None = None, *, operations: Operations = nn
) -> tuple[Network, Metadata]:
    """Read an authors' file and fill the network that it belongs to.

    Args:
        path: the file; or a folder, where the method's weights are several files.
        preset: what it is to be, where the file does not say; None takes what its tensors and its digest
            say, or the first of those that it may be.
        operations: the namespace of layer classes.
    Raises: ValueError naming the file where it holds anything but tensors, or other tensors than the
        network has; OSError where it cannot be read.
    """
    state, files = _gathered(path)
    blobs = [blob_digest(file) for file in files]
    if preset is None:
        known = (n for n, entry in filed().items() if entry.published and [entry.published.blob] == blobs)
        preset = next(known, None)
    name, network = convert_state(state, str(path), preset, operations=operations)
    notes = {"converted_from": path.name, "sha256": " ".join(file_digest(file) for file in files)}
    card = filed()[name].published
    if card is None:
        licence = "as the authors' weights; their code is MIT"
        return network, describe(
            network, name, data="as trained by the authors", licence=licence, notes=notes
        )
    own = blobs == [card.blob]
    if preset is None and (others := _twins(name)):
        notes["could_be"] = ", ".join(others)
    notes |= {
        "git_blob": " ".join(blobs),
        "method": card.method,
        "origin": card.origin,
        "citation": card.citation,
        "commercial_use": {None: "not stated", True: "allowed", False: "not allowed"}[card.commercial],
        "verified": _verified(files, blobs, own),
    }
    return network, describe(
        network,
        name,
        data="as trained by the authors" if own else "not known",
        licence=card.licence,
        scores=card.scores if own else {},
        notes=notes,
    )


def _verified(files: list[Path], blobs: list[str], own: bool) -> str:
    if own:
        return "the authors' own file, by its digest"
    known = {entry.published.blob for entry in filed().values() if entry.published}
    theirs = [file.name for file, blob in zip(files, blobs, strict=True) if blob in known]
    if not theirs:
        return "no: its digest is not a known one"
    return f"in part: {', '.join(theirs)} is the authors' own file by its digest, the rest is not known"


def _gathered(path: Path) -> tuple[dict[str, Tensor], list[Path]]:
    """The tensors to fill a network from, and the files they come from; the parts of one method joined."""
    paths = sorted(path.glob("*.pth")) if path.is_dir() else [path]
    if not paths:
        raise ValueError(f"there is no .pth file in {path}")
    states = {file: read_foreign(file) for file in paths}
    known = _parts()
    told = {file: part_of(state, known, _NEAR) for file, state in states.items()}
    if len(paths) == 1:
        part = told[paths[0]]
        if part is None or part.name != part.all[0]:
            return states[paths[0]], paths
        paths = partners(paths[0], part)
        states |= {file: read_foreign(file) for file in paths[1:]}
        told |= {file: part_of(states[file], known, _NEAR) for file in paths[1:]}
    found = {file: (part, states[file]) for file, part in told.items() if part is not None}
    if not found:
        names = ", ".join(file.name for file in paths[:3])
        raise ValueError(f"{path} holds no method of several files, so name one of its files: {names}")
    return joined(path, found)


def _parts() -> list[Part]:
    found = []
    for preset, entry in filed().items():
        if entry.published is not None and entry.published.parts:
            wanted = _published_match(preset, entry.config, entry.published).wanted
            found += parts_of(preset, entry.published.parts, wanted)
    return found


def convert_state(
    state: dict[str, Tensor], source: str, preset: str | None = None, *, operations: Operations = nn
) -> tuple[str, Network]:
    """A network of ours, in evaluation mode, filled with a foreign state.

    Args: source: named in errors; preset, operations: as for `convert`.
    Raises: ValueError listing tensors that are missing, unknown, misshapen or not finite.
    """
    if state and all(key.startswith("module.") for key in state):  # saved from DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    match = recognise(state, source, preset)
    given = _given(match, state)
    if found := state_differences(match.wanted, given):
        raise ValueError(f"{source} does not fit '{match.preset}': {found}")
    kinds = [
        key for key, t in match.wanted.items() if t.is_floating_point() != given[key].is_floating_point()
    ]
    if kinds:
        raise ValueError(f"{source} does not fit '{match.preset}': of another type: {', '.join(kinds[:3])}")
    network = filed()[match.preset].build(operations, config=match.config, pretrained=False)
    network.load_state_dict({match.names[key]: value for key, value in given.items()}, strict=True)
    return match.preset, network.eval().requires_grad_(False)


def recognise(state: dict[str, Tensor], source: str, preset: str | None = None) -> KeyMatch:
    """The network that a foreign state belongs to, from its names and shapes.

    Raises: ValueError naming what was tried where it is none of them, or not the one asked for.
    """
    candidates = {match.preset: match for match in _candidates(state)}
    tried = [*hdnet_files.METHODS, *(name for name, entry in filed().items() if entry.published)]
    if preset is not None:
        if preset not in tried:
            raise ValueError(f"no authors' file becomes '{preset}'; these do: {', '.join(tried)}")
        if preset not in candidates:
            raise ValueError(f"{source} holds no '{preset}': it begins with {_beginning(state)}")
        return candidates[preset]
    shares = {name: _share(match, state) for name, match in candidates.items()}
    best = max(shares, key=lambda name: shares[name], default=None)
    if best is None or shares[best] < _NEAR:
        methods = ", ".join(tried)
        raise ValueError(
            f"{source} belongs to no network that opens here: it begins with {_beginning(state)}; "
            f"tried were {methods}"
        )
    return candidates[best]


def _beginning(state: dict[str, Tensor]) -> str:
    """The first tensors of a state, for errors."""
    names = [f"{name[:60]} {tuple(tensor.shape)}" for name, tensor in list(state.items())[:2]]
    return " and ".join(names)


def _candidates(state: dict[str, Tensor]) -> list[KeyMatch]:
    """The networks of the list as they would have to be filled."""
    found = []
    detected = hdnet_files.detect(state)
    if detected is not None:
        preset, config = detected
        own = on_meta(filed()[preset], config).state_dict()
        names = hdnet_files.key_table(config)
        assert len(names) == len(own), set(own) - set(names.values())
        wanted = {theirs: own[ours] for theirs, ours in names.items()}
        found.append(KeyMatch(preset=preset, config=config, names=names, wanted=wanted))
    for preset, entry in filed().items():
        if entry.published is not None:
            found.append(_published_match(preset, entry.config, entry.published))
    return found


def _published_match(preset: str, config: NetworkConfig, card: Published) -> KeyMatch:
    own = _own_state(preset, config)
    names = {their_name(ours, card.keys): ours for ours in own}
    assert len(names) == len(own), f"two tensors of '{preset}' have one name"
    wanted = {theirs: own[ours] for theirs, ours in names.items()}
    return KeyMatch(preset=preset, config=config, names=names, wanted=wanted, idle=card.idle)


@lru_cache(maxsize=64)  # asked for every network of the list, for every file
def _own_state(preset: str, config: NetworkConfig) -> dict[str, Tensor]:
    """The tensors of a preset's network, on the meta device."""
    return on_meta(filed()[preset], config).state_dict()


def _twins(name: str) -> list[str]:
    """The other published networks whose files have the same tensors."""
    card = filed()[name].published
    assert card is not None
    own = _layout(_published_match(name, filed()[name].config, card))
    rest = ((n, entry) for n, entry in filed().items() if n != name)
    return [
        n
        for n, entry in rest
        if entry.published and _layout(_published_match(n, entry.config, entry.published)) == own
    ]


def _layout(match: KeyMatch) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in match.wanted.items()}


def _given(match: KeyMatch, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A foreign state cut as the network wants it; tensors that nothing reads may be missing, and are 0."""
    found = split_projections(hdnet_files.with_flat_kernels(state), match.wanted)
    absent = match.wanted.keys() - found.keys()
    idle = (key for key in absent if match.names[key].startswith(match.idle))
    return found | {key: torch.zeros_like(match.wanted[key], device="cpu") for key in idle}


def _share(match: KeyMatch, state: dict[str, Tensor]) -> float:
    """How much of a network a state is, 0..1: tensors equal in name and shape, over those of either.

    What a file may leave out counts where it is there.
    """
    given = split_projections(hdnet_files.with_flat_kernels(state), match.wanted)
    wanted = {key for key in match.wanted if key in given or not match.names[key].startswith(match.idle)}
    same = sum(key in given and given[key].shape == match.wanted[key].shape for key in wanted)
    return same / len(wanted | given.keys())


def read_foreign(path: Path) -> dict[str, Tensor]:
    """The tensors of an authors' file, on the CPU; a file that wraps them ({"state_dict": ...}) is opened.

    Raises: ValueError naming the file where it is damaged, or holds anything but tensors by name;
        OSError where it cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"there is no weights file {path}")
    _refuse_compressed(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # bytes that are no pickle make torch's unpickler raise nearly anything
        if isinstance(error, pickle.UnpicklingError) and any(sign in str(error) for sign in _OBJECTS):
            raise ValueError(
                f"{path} holds Python objects and not tensors alone, so it is not opened: it could run code"
            ) from error
        raise ValueError(
            f"{path} is not a weights file: it is cut short, damaged or of another kind"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or len(content) > MOST_ENTRIES:
        raise ValueError(f"{path} holds no tensors by name")
    strange = [one_line(name)[:60] for name, value in content.items() if not _is_plain(name, value)]
    if strange:
        raise ValueError(f"{path} holds entries that are no plain tensors: {', '.join(strange[:3])}")
    return dict(content)


def _is_plain(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_complex()
    )


def _refuse_compressed(path: Path) -> None:
    """torch never compresses: an archive that grows when it is opened is a trap."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"{path} is not a weights file: it is cut short, damaged or of another kind"
        ) from error
    if size > path.stat().st_size:
        raise ValueError(f"{path} is compressed as no weights file is, so it is not opened")


def blob_digest(path: Path) -> str:
    """Git's digest of a file, 40 hex digits: the name under which a repository keeps it."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
