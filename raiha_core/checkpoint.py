"""Our own weight files: safetensors with JSON metadata, loaded strictly.

Source: this project. Foreign files go through `convert.py`.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from . import records
from .durable import durable_path
from .features.spec import FeatureSpec
from .models import former_names
from .models.blocks import Operations
from .models.network import Network, NetworkConfig
from .models.presets import config_from_json, config_to_json, filed
from .models.reference_gate import FittedGate, ReferenceGate
from .opening import openable
from .reasons import one_line, reason

KEY = "raiha"  # the entry of the safetensors header that holds our JSON
_FORMAT = 1
_LARGEST = 100_000.0  # number in a config; a larger width would be built before anybody sees the mistake
GATE = "reference_gate."  # how the names of the gate's tensors begin, which are none of the network's
LISTED = 5  # differences named in an error before the rest is counted


def code_version() -> str:
    """The version of this package, or "source" where it runs without being installed."""
    try:
        return packages.version("raiha")
    except packages.PackageNotFoundError:
        return "source"


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """What a weight file says about itself."""

    preset: str
    config: dict[str, Any]  # fields of the preset's config
    spec: FeatureSpec | None = None  # the feature space it was trained with; None: it reads none
    data: str = ""  # what it was trained on, in words
    scores: dict[str, float] = field(default_factory=dict)  # name with protocol -> value
    licence: str = ""
    code_version: str = field(default_factory=code_version)
    notes: dict[str, str] = field(default_factory=dict)  # step, seed, source file, ...
    # whose matches the gate of references was fitted on; None: no gate, or one that does not say
    gate_spec: FeatureSpec | None = field(default=None, metadata=records.LATER)

    def to_json(self) -> dict[str, Any]:
        said = records.to_json(self)
        if self.gate_spec is None:
            del said["gate_spec"]  # as in the files of before
        return {"format": _FORMAT, "feature_spec": said.pop("spec"), **said}


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedCheckpoint:
    """A network in evaluation mode, without gradients, and what its file says."""

    network: Network
    preset: str
    config: NetworkConfig
    metadata: Metadata
    spec: FeatureSpec | None
    gate: FittedGate | None = None  # fitted to this network's errors; None: the file brings none


def describe(network: Network, preset: str, **more: Any) -> Metadata:
    """Metadata of a network built by a preset; `more` are further fields of `Metadata`."""
    return Metadata(preset=preset, config=config_to_json(network.config), **more)


def save(
    path: Path,
    network: Network,
    metadata: Metadata,
    *,
    gate: ReferenceGate | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a network's state with its metadata; after a kill the file is the old one or the new one.

    Args:
        gate: of references, fitted to this network's errors; `metadata.gate_spec` says on which features.
        dtype: store floating-point tensors in this type (float16 halves the file); None keeps theirs.
    Raises: ValueError where the state holds NaN or infinite values, the metadata's config is not the
        network's, or gate and metadata do not belong together; OSError as the file system gives it.
    """
    if (config := config_from_json(metadata.preset, metadata.config)) != network.config:
        raise ValueError(f"the metadata describes {config}, but the network is {network.config}")
    if (gate is None) != (metadata.gate_spec is None):
        raise ValueError("a gate of references and the feature space it was fitted on come together")
    state: dict[str, Tensor] = {}
    every = network.state_dict()
    if gate is not None:
        every |= {f"{GATE}{name}": tensor for name, tensor in gate.state_dict().items()}
    for name, tensor in every.items():
        kept = tensor.detach().to("cpu", dtype if dtype and tensor.is_floating_point() else tensor.dtype)
        if kept.is_floating_point() and not torch.isfinite(kept).all():
            raise ValueError(f"{name} holds NaN or infinite values (as {kept.dtype}); {path} is not written")
        state[name] = kept.clone(memory_format=torch.contiguous_format)  # safetensors refuses shared memory
    with durable_path(path) as temporary:
        # not save_file: its own errors are in Rust's words, and name no file where the disk is full
        temporary.write_bytes(to_bytes(state, metadata={KEY: json.dumps(metadata.to_json(), sort_keys=True)}))


def read_metadata(path: Path) -> Metadata:
    """What a weight file says about itself, without reading its tensors.

    Raises: ValueError naming the file where it is cut short, is no safetensors file, was not written by
        us, or by a newer version; OSError where it cannot be read.
    """
    return _read(path, None)[0]


def load(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    operations: Operations = nn,
    expect: str | None = None,
) -> LoadedCheckpoint:
    """Build the network that a file describes and fill it, every tensor exactly once.

    Args:
        dtype: of the network's floating-point tensors; None is float32, whatever the file stores.
        operations: the namespace of layer classes.
        expect: the preset the caller needs; None takes any.
    Raises: as `read_metadata`; ValueError where the preset is not the expected one, the config is not
        one of ours, or tensors are missing, unknown, misshapen or not finite: the error lists them.
    """
    metadata, state = _read(path, device)
    gate, state = _gate_apart(path, metadata, state)
    metadata = replace(metadata, gate_spec=None if gate is None else gate.spec)
    if expect is not None and metadata.preset != expect:
        raise ValueError(f"{path} holds the preset '{metadata.preset}', but '{expect}' was asked for")
    try:
        config = config_from_json(metadata.preset, metadata.config)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {reason(error)}") from None
    preset = filed()[metadata.preset]
    kind = dtype or torch.float32
    network = preset.build(operations, config=config, pretrained=False).to(device, kind)
    own = network.state_dict()
    state = {name: t.to(kind) if t.is_floating_point() else t for name, t in state.items()}
    # first: the layers of a host may have no parameters, and so no names, before they are read
    fitting = {name: t for name, t in state.items() if name not in own or own[name].shape == t.shape}
    network.load_state_dict(fitting, strict=False)
    if found := state_differences(network.state_dict(), state):
        raise ValueError(f"{path} does not fit the network '{metadata.preset}': {found}")
    network.feature_spec = metadata.spec
    network.eval().requires_grad_(False)
    return LoadedCheckpoint(
        network=network,
        preset=metadata.preset,
        config=config,
        metadata=metadata,
        spec=metadata.spec,
        gate=gate,
    )


def load_gate(path: Path) -> FittedGate | None:
    """The gate of references that a weight file brings, on the CPU; None where it brings none.

    Raises: as `load`.
    """
    metadata, state = _read(path, "cpu")
    return _gate_apart(path, metadata, state)[0]


def _gate_apart(
    path: Path, metadata: Metadata, state: dict[str, Tensor]
) -> tuple[FittedGate | None, dict[str, Tensor]]:
    """The gate's tensors filled into a gate, and the others."""
    own = {n.removeprefix(GATE): t.cpu().float() for n, t in state.items() if n.startswith(GATE)}
    rest = {name: tensor for name, tensor in state.items() if not name.startswith(GATE)}
    if not own:
        return None, rest
    if len(own.get("centre", ())) in former_names.GATE_NUMBERS:
        warnings.warn(
            f"{path} holds a gate of references of an earlier kind, which this version cannot use: the one "
            "that comes with this version follows the references in its place",
            stacklevel=3,
        )
        return None, rest
    gate = ReferenceGate()
    if found := state_differences(gate.state_dict(), own):
        raise ValueError(f"{path} holds a gate of references that does not fit: {found}")
    gate.load_state_dict(own)
    spec = metadata.gate_spec or records.from_json(FeatureSpec, former_names.GATE_SPEC, "the gate's features")
    return FittedGate(gate.eval().requires_grad_(False), spec), rest


def state_differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """In what a state differs from the one a network needs, in one line; "" where it fits."""
    problems = {
        "missing": [name for name in own if name not in given],
        "unknown": [name for name in given if name not in own],
        "of another shape": [
            f"{name} {tuple(given[name].shape)} for {tuple(own[name].shape)}"
            for name in own
            if name in given and own[name].shape != given[name].shape
        ],
        # only where it fits: a tensor of another shape may claim more numbers than there is memory for
        "not finite": [
            name
            for name, t in given.items()
            if name in own
            and own[name].shape == t.shape
            and t.is_floating_point()
            and not torch.isfinite(t).all()
        ],
    }
    parts = []
    for label, names in problems.items():
        if names:
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            parts.append(f"{label}: {', '.join(map(one_line, names[:LISTED]))}{more}")
    return "; ".join(parts)


def _read(path: Path, device: torch.device | str | None) -> tuple[Metadata, dict[str, Tensor]]:
    """Metadata, and the tensors where a device is named."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weight file {path}")
    try:
        with openable(path) as name, safe_open(name, framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            names = [] if device is None else list(file.keys())
            state = former_names.tensors({name: file.get_tensor(name).to(device) for name in names})
    except SafetensorError:
        raise ValueError(
            f"{path} is no whole safetensors file: it is cut short, damaged or of another kind"
        ) from None
    if KEY not in header:
        raise ValueError(f"{path} was not written by Raiha; `raiha convert` reads the authors' .pth files")
    return _parse(path, header[KEY]), state


def _parse(path: Path, text: str) -> Metadata:
    try:
        data = json.loads(text)
        if data["format"] != _FORMAT:
            written = data.get("code_version")
            needed = f"; it needs Raiha {written:.40} or newer" if isinstance(written, str) else ""
            raise ValueError(f"it has format {data['format']}, this version reads {_FORMAT}{needed}")
        said = {key: value for key, value in data.items() if key not in ("format", "feature_spec")}
        said |= {"config": former_names.config(data["config"]), "spec": data["feature_spec"]}
        about = records.from_json(Metadata, said, "it")
        for name, value in about.config.items():
            if isinstance(value, int | float) and not abs(value) <= _LARGEST:
                shown = f"'{one_line(name)}' {value!r:.20}"
                raise ValueError(f"its config has {shown}, more than any network has")
        return about
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"the metadata of {path} cannot be used: {reason(error)}") from None
