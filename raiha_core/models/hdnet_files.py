"""The authors' files of HDNet and Raiha: the names of their tensors, and the config that a file tells.

Source: key names and shapes of the public code of arXiv:2211.08639 and arXiv:2412.13916, both MIT.
"""

from torch import Tensor

from .hdnet import UNetConfig

FIRST = "model_layer0.weight"
METHODS = {"hdnet": "HDNet", "raiha-released": "Raiha"}  # by preset
_NORMS = ("foreground_gamma", "foreground_beta", "background_gamma", "background_beta")
_DYNAMIC = {"conv_kernel.1": "squeeze", "conv_kernel.3": "kernels", "conv_guide": "guide"}


def key_table(config: UNetConfig) -> dict[str, str]:
    """Their name -> ours, for a network of this config."""
    levels = tuple(map(str, range(9, 14)))
    guided = config.attention != "none"
    table = {FIRST: "encoder.0.weight"}
    table |= {f"model_layer{n}.1.weight": f"encoder.{n}.weight" for n in range(1, 7)}
    table["model_layer71.1.weight"] = "bottleneck.weight"
    table |= {f"model_layer{n}.1.weight": f"decoder.{n}.weight" for n in ("72", "8", *levels)}
    norms = levels if guided else ("72", "8", *levels)
    table |= {f"model_layer{n}norm.{part}": f"norms.{n}.{part}" for n in norms for part in _NORMS}
    for level in ("11", "12", "13"):
        for theirs, ours in _DYNAMIC.items():
            for part in ("weight", "bias"):
                table[f"model_layer{level}att.{theirs}.{part}"] = f"dynamics.{level}.{ours}.{part}"
    table |= {f"model_out.1.{part}": f"head.out.{part}" for part in ("weight", "bias")}
    if config.local_dynamic != "none":
        table |= {f"LD.linear.{part}": f"local.fuse.{part}" for part in ("weight", "bias")}
    if guided:
        table |= {f"DVTATT.K_conv.{part}": f"attention.to_key.{part}" for part in ("weight", "bias")}
        table["DVTATT.fuse.weight"] = "attention.fuse.weight"
    return table


def detect(state: dict[str, Tensor]) -> tuple[str, UNetConfig] | None:
    """The preset and config of a state; None where it is neither HDNet's nor released Raiha's."""
    first = state.get(FIRST)
    if first is None or first.ndim != 4 or first.shape[1] not in (3, 4):
        return None
    width, mask_input = first.shape[0], first.shape[1] == 4
    guide = state.get("DVTATT.K_conv.weight")
    if guide is not None and guide.ndim == 4 and guide.shape[1] > 16 * width:
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
    local = any(key.startswith("LD.") for key in state)
    return "hdnet", UNetConfig(
        width=width,
        mask_input=mask_input,
        mask_resize="nearest",
        local_dynamic="released" if local else "none",
    )


def with_flat_kernels(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Their one-dimensional convolution as ours over a map."""
    return {
        key: value[..., None] if key == "LD.linear.weight" and value.ndim == 3 else value
        for key, value in state.items()
    }
