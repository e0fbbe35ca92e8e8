"""The networks by name: a frozen config each, how to build it, and what it needs around it.

To add one: a config, and one line in `PRESETS`.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import torch.nn

from .blocks import Operations
from .hdnet import MULTIPLE, UNet, UNetConfig
from .plus import PLUS_MULTIPLE, Plus, PlusConfig
from .statistics import StatisticsConfig

Config = UNetConfig | PlusConfig
Network = UNet | Plus


@dataclass(frozen=True, kw_only=True, slots=True)
class Requirements:
    """What a network needs around it."""

    size: int  # the side of the square it was made for
    multiple: int  # sides are padded to this inside; no caller needs to
    content: bool  # reads retrieval features of the composite (and of the references)
    content_without_references: bool  # needs them even where there is no reference
    references: bool  # can read references at all
    max_references: int


def requirements(config: Config) -> Requirements:
    """What a network of this config needs."""
    if isinstance(config, PlusConfig):
        content, always, multiple = config.learns_references, False, PLUS_MULTIPLE
    else:
        content, always, multiple = config.guidance != "none", config.guidance != "none", MULTIPLE
    return Requirements(
        size=config.size,
        multiple=multiple,
        content=content,
        content_without_references=always,
        references=config.max_references > 0,
        max_references=config.max_references,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A named network."""

    name: str
    config: Config
    about: str

    @property
    def requirements(self) -> Requirements:
        """Of the preset's own config; a checkpoint may hold another one of the same kind."""
        return requirements(self.config)

    def build(
        self, operations: Operations = torch.nn, *, config: Config | None = None, pretrained: bool = True
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
        if isinstance(config, PlusConfig):
            return Plus(config, name=self.name, operations=operations, pretrained=pretrained)
        return UNet(config, name=self.name, operations=operations)


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
        about="ours: corrects the ring statistics by pretrained features, looks and references",
    ),
)
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _LIST}
if len(PRESETS) != len(_LIST):
    raise AssertionError("two presets have one name")


def config_to_json(config: Config) -> dict[str, Any]:
    """Plain values as JSON gives them back, lists for tuples: what a checkpoint keeps."""
    return cast("dict[str, Any]", _as(list, asdict(config)))


def config_from_json(preset: str, data: object) -> Config:
    """The config that `config_to_json` gave.

    Raises: ValueError naming the preset and the fields that are unknown, missing or not allowed.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset '{preset}'; known: {', '.join(PRESETS)}")
    return cast("Config", _dataclass(type(PRESETS[preset].config), data, f"the config of '{preset}'"))


def _dataclass(kind: type, data: object, what: str) -> object:
    if not isinstance(data, dict):
        raise ValueError(f"{what} must be a table of fields, got {data!r}")
    known = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if not field.metadata.get("may_be_missing")}
    if unknown := sorted(set(data) - known):
        raise ValueError(f"{what} has unknown fields: {', '.join(unknown)}")
    if missing := sorted(needed - set(data)):
        raise ValueError(f"{what} lacks the fields: {', '.join(missing)}")
    values = {name: _as(tuple, value) for name, value in data.items()}
    if "statistics" in values:
        values["statistics"] = _dataclass(StatisticsConfig, data["statistics"], f"{what}, 'statistics',")
    return kind(**values)


def _as(kind: type, value: Any) -> Any:
    """A nested value with every list and tuple of one kind."""
    if isinstance(value, dict):
        return {key: _as(kind, part) for key, part in value.items()}
    return kind(_as(kind, part) for part in value) if isinstance(value, list | tuple) else value
