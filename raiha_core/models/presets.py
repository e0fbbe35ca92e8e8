"""The networks by name: one line each.

To add one: a file with its config and network (`network.py` says what they are), and a line in `_LIST`.
"""

from dataclasses import dataclass
from typing import Any

import torch.nn

from ..reasons import one_line
from ..records import from_json, to_json
from . import former_names
from .bargainnet import BARGAINNET, BargainNetConfig
from .blocks import Operations
from .cdtnet import CDTNET, CDTNET_512, CDTNET_SIM, CDTNetConfig
from .dccf import DCCF_IDIH, DCCF_ISSAM, DCCFConfig
from .harmony_transformer import DHT, HT, HarmonyTransformerConfig
from .hdnet import UNetConfig
from .idih import IDIH256, IDIH256_DEEPLAB, IDIH256_HRNET, IdihConfig
from .intrinsic import INTRINSIC, IntrinsicConfig
from .issam import ISSAM256, IssamConfig
from .network import Network, NetworkConfig, Requirements
from .pctnet import PCTNET_CNN, PCTNET_VIT, PCTNetConfig
from .plus import PlusConfig
from .published import Published
from .rainnet import RAINNET, RainNetConfig
from .s2crnet import S2CRNET, S2CRNET_VGG, S2CRNetConfig
from .style_code import STYLE_CODE, StyleCodeConfig
from .white_box import HARMONIZER, WhiteBoxConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A named network."""

    name: str
    config: NetworkConfig
    about: str
    published: Published | None = None  # whose method it is, where its authors' weights open here

    @property
    def requirements(self) -> Requirements:
        """Of the preset's own config; a checkpoint may hold another one of the same kind."""
        return self.config.requirements

    def build(
        self,
        operations: Operations = torch.nn,
        *,
        config: NetworkConfig | None = None,
        pretrained: bool = True,
    ) -> Network:
        """A network with fresh weights, in training mode, on the CPU.

        Args:
            operations: the namespace of layer classes; a host hands in its casting ones.
            config: of the preset's kind, where it differs from the preset's own.
            pretrained: load the backbone's ImageNet weights, where there is a backbone; a checkpoint
                brings its own.
        Raises: ValueError where `config` is of another kind, or the backbone's weights are not installed.
        """
        config = config or self.config
        if type(config) is not type(self.config):
            raise ValueError(
                f"'{self.name}' takes a {type(self.config).__name__}, got {type(config).__name__}"
            )
        return config.build(name=self.name, operations=operations, pretrained=pretrained)


def published(name: str, config: NetworkConfig, card: Published) -> Preset:
    """A method of the field, told by its card."""
    return Preset(name=name, config=config, about=card.citation, published=card)


_DVT_DIM = 768  # numbers per patch of the paper's encoder

_LIST = (
    Preset(name="hdnet", config=UNetConfig(), about="the base: local and global dynamic convolution, RAIN"),
    Preset(name="hdnet-lite", config=UNetConfig(width=8), about="hdnet, a quarter of the width"),
    Preset(
        name="raiha",
        config=UNetConfig(
            local_dynamic="none",
            attention="tokens",
            guidance="concat",
            content_dim=_DVT_DIM,
            max_references=4,
        ),
        about="the paper: reference tokens beside background tokens in the guided attention",
    ),
    Preset(
        name="raiha-released",
        config=UNetConfig(
            mask_resize="nearest",
            local_dynamic="none",
            attention="pixels",
            guidance="concat",
            content_dim=_DVT_DIM,
            max_references=1,
        ),
        about="the authors' code: the reference as pixels beside the composite",
    ),
    Preset(
        name="rcl",
        config=UNetConfig(style_fusion=True),
        about="hdnet with external style fusion, for the region-wise contrastive loss (our formulation)",
    ),
    Preset(
        name="raiha-plus",
        config=PlusConfig(),
        about="ours: corrects the ring statistics by pretrained features, region colours and references",
    ),
    published("pctnet-cnn", PCTNetConfig(trunk="cnn"), PCTNET_CNN),
    published("pctnet-vit", PCTNetConfig(trunk="vit"), PCTNET_VIT),
    published("harmonizer", WhiteBoxConfig(), HARMONIZER),
    published("issam256", IssamConfig(), ISSAM256),
    published("idih256", IdihConfig(), IDIH256),
    published("idih256-deeplab", IdihConfig(trunk="deeplab"), IDIH256_DEEPLAB),
    published("idih256-hrnet18s", IdihConfig(trunk="hrnet", trunk_width=18), IDIH256_HRNET),
    published("rainnet", RainNetConfig(), RAINNET),
    published("s2crnet", S2CRNetConfig(), S2CRNET),
    published("dccf-issam", DCCFConfig(base="issam"), DCCF_ISSAM),
    published("dccf-idih", DCCFConfig(base="idih"), DCCF_IDIH),
    # three files with the same tensors: told apart by their digests, else the first is meant
    published("cdtnet", CDTNetConfig(), CDTNET),
    published("cdtnet-512", CDTNetConfig(size=512), CDTNET_512),
    published("cdtnet-sim", CDTNetConfig(refined=False), CDTNET_SIM),
    published("bargainnet", BargainNetConfig(), BARGAINNET),
    published("intrinsic", IntrinsicConfig(), INTRINSIC),
    published("ht", HarmonyTransformerConfig(kind="ht"), HT),
    published("dht", HarmonyTransformerConfig(kind="dht"), DHT),
    published("s2crnet-vgg", S2CRNetConfig(trunk="vgg"), S2CRNET_VGG),
)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _LIST}
# files that `raiha score` reads: they tell how well an object belongs, and harmonize nothing
SCORERS: dict[str, Preset] = {
    "bargainnet-encoder": published("bargainnet-encoder", StyleCodeConfig(), STYLE_CODE),
}


def filed() -> dict[str, Preset]:
    """All that a weight file may hold: the networks and the scorers."""
    return PRESETS | SCORERS


# whose authors' files can be brought here
FETCHABLE = tuple(n for n, preset in filed().items() if preset.published and preset.published.can_be_fetched)
if len(PRESETS) != len(_LIST):
    raise AssertionError("two presets have one name")


def config_to_json(config: NetworkConfig) -> dict[str, Any]:
    """Plain values as JSON gives them back, lists for tuples: what a checkpoint keeps."""
    return to_json(config)


def config_from_json(preset: str, data: object) -> NetworkConfig:
    """The config that `config_to_json` gave, or gave before fields were renamed.

    Raises: ValueError naming the preset and the fields that are unknown, missing or not allowed.
    """
    known = filed()
    if preset not in known:
        raise ValueError(f"unknown preset '{one_line(preset)}'; known: {', '.join(known)}")
    config = former_names.config(data)
    return from_json(type(known[preset].config), config, f"the config of '{preset}'")
