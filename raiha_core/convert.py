"""The authors' weight files (HDNet, Raiha; .pth) as networks of ours, every tensor exactly once.

Source: key names and shapes of the public code of arXiv:2211.08639 and arXiv:2412.13916, both MIT.
"""

from pathlib import Path

from torch import Tensor

from .checkpoint import Metadata, describe, state_differences
from .features.weights import file_digest, read_state
from .models.hdnet import UNetConfig
from .models.network import Network
from .models.presets import PRESETS

_NORMS = ("foreground_gamma", "foreground_beta", "background_gamma", "background_beta")
_DYNAMIC = {"conv_kernel.1": "squeeze", "conv_kernel.3": "kernels", "conv_guide": "guide"}


def key_table(*, norms: tuple[str, ...], local: bool, attention: bool) -> dict[str, str]:
    """Their key -> ours, for a network with these parts."""
    table = {"model_layer0.weight": "encoder.0.weight"}
    table |= {f"model_layer{n}.1.weight": f"encoder.{n}.weight" for n in range(1, 7)}
    table["model_layer71.1.weight"] = "bottleneck.weight"
    table |= {f"model_layer{n}.1.weight": f"decoder.{n}.weight" for n in ("72", *map(str, range(8, 14)))}
    table |= {f"model_layer{n}norm.{part}": f"norms.{n}.{part}" for n in norms for part in _NORMS}
    for level in ("11", "12", "13"):
        for theirs, ours in _DYNAMIC.items():
            for part in ("weight", "bias"):
                table[f"model_layer{level}att.{theirs}.{part}"] = f"dynamics.{level}.{ours}.{part}"
    table |= {f"model_out.1.{part}": f"head.out.{part}" for part in ("weight", "bias")}
    if local:
        table |= {f"LD.linear.{part}": f"local.fuse.{part}" for part in ("weight", "bias")}
    if attention:
        table |= {f"DVTATT.K_conv.{part}": f"attention.to_key.{part}" for part in ("weight", "bias")}
        table["DVTATT.fuse.weight"] = "attention.fuse.weight"
    return table


def detect(state: dict[str, Tensor]) -> tuple[str, UNetConfig]:
    """The preset and config of a foreign state, from its keys and shapes.

    Raises: ValueError where it is neither HDNet's nor released Raiha's.
    """
    first = state.get("model_layer0.weight")
    if first is None or first.ndim != 4 or first.shape[1] not in (3, 4):
        raise ValueError("it is neither HDNet nor Raiha (no model_layer0.weight of 3 or 4 channels)")
    width, mask_input = first.shape[0], first.shape[1] == 4
    guide = state.get("DVTATT.K_conv.weight")
    if guide is not None:
        config = UNetConfig(
            width=width,
            mask_input=mask_input,
            mask_resize="nearest",
            local_dynamic="none",
            attention="pixels",
            guidance="concat",
            content_dim=guide.shape[1] - 16 * width,
            max_references=1,
        )
        return "raiha-released", config
    local = "released" if any(key.startswith("LD.") for key in state) else "none"
    return "hdnet", UNetConfig(
        width=width,
        mask_input=mask_input,
        mask_resize="nearest",
        local_dynamic=local,  # type: ignore[arg-type]
    )


def convert_state(state: dict[str, Tensor], source: str) -> tuple[str, Network]:
    """A network of ours filled with a foreign state.

    Args: source: named in errors.
    Raises: ValueError listing keys that are missing, unknown, misshapen or not finite.
    """
    if state and all(key.startswith("module.") for key in state):  # saved from DataParallel
        state = {key.removeprefix("module."): value for key, value in state.items()}
    try:
        preset, config = detect(state)
    except ValueError as error:
        raise ValueError(f"{source} cannot be converted: {error}") from None
    levels = tuple(map(str, range(9, 14)))
    table = key_table(
        norms=levels if config.attention != "none" else ("72", "8", *levels),
        local=config.local_dynamic != "none",
        attention=config.attention != "none",
    )
    network = PRESETS[preset].build(config=config)
    own = network.state_dict()
    wanted = {theirs: own[ours] for theirs, ours in table.items()}
    assert len(wanted) == len(own), set(own) - set(table.values())
    given = {
        # theirs is a one-dimensional convolution, ours the same over a map
        key: value[..., None] if key == "LD.linear.weight" and value.ndim == 3 else value
        for key, value in state.items()
    }
    if found := state_differences(wanted, given):
        raise ValueError(f"{source} does not fit '{preset}': {found}")
    network.load_state_dict({table[key]: value for key, value in given.items()}, strict=True)
    return preset, network.eval()


def convert(path: Path) -> tuple[Network, Metadata]:
    """Read the authors' .pth and fill `hdnet` or `raiha-released` with it; no code of the file is run.

    Raises: ValueError naming the file where it holds anything but tensors, or other tensors than these
        networks have; OSError where it cannot be read.
    """
    preset, network = convert_state(read_state(path), str(path))
    notes = {"converted_from": path.name, "sha256": file_digest(path)}
    licence = "as the authors' weights; their code is MIT"
    return network, describe(network, preset, data="as trained by the authors", licence=licence, notes=notes)
