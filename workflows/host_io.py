"""What ComfyUI calls `io`, as far as Raiha's nodes use it: sockets, widgets, schemas, nodes.

Part of the embedded host: workflows run without ComfyUI. Names and argument names are ComfyUI's own
(comfy_api v0_0_2), so `nodes/` is written once; the code is ours, and so is `core_node`.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum
from typing import Any


class NumberDisplay(str, Enum):
    number = "number"
    slider = "slider"


class UploadType(str, Enum):
    image = "image_upload"
    video = "video_upload"


class FolderType(str, Enum):
    input = "input"
    output = "output"
    temp = "temp"


class Hidden(str, Enum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


@dataclass(slots=True)
class HiddenValues:
    """What a running node may know about its prompt."""

    unique_id: str | None = None
    prompt: dict[str, Any] | None = None
    extra_pnginfo: dict[str, Any] | None = None


@dataclass
class Input:
    """A socket."""

    id: str
    _: KW_ONLY
    display_name: str | None = None
    optional: bool = False
    tooltip: str | None = None
    advanced: bool | None = None
    io_type = "*"


@dataclass
class WidgetInput(Input):
    """A socket with a widget: its limits as far as the type has them, and how the page shows it."""

    default: Any = None
    min: float | None = None
    max: float | None = None
    options: list[str] | None = None
    step: float | None = None
    round: float | None = None
    display_mode: NumberDisplay | None = None
    control_after_generate: bool | None = None
    multiline: bool = False
    placeholder: str | None = None
    label_on: str | None = None
    label_off: str | None = None
    upload: UploadType | None = None
    image_folder: FolderType | None = None
    socketless: bool | None = None
    force_input: bool | None = None


@dataclass
class Output:
    id: str | None = None
    display_name: str | None = None
    tooltip: str | None = None
    is_output_list: bool = False
    io_type = "*"


class Socket:
    """Base of all socket types; `X.Input(...)` and `X.Output(...)` make a node's sockets."""

    io_type = "*"
    Input: type[Input]
    Output: type[Output]


def _socket(io_type: str, input_class: type[Input] = Input) -> type[Socket]:
    members = {
        "io_type": io_type,
        "Input": type("Input", (input_class,), {"io_type": io_type}),
        "Output": type("Output", (Output,), {"io_type": io_type}),
    }
    return type(io_type, (Socket,), members)


def Custom(io_type: str) -> type[Socket]:  # noqa: N802  the host's name
    """A socket type of a pack's own; equal strings connect."""
    return _socket(io_type)


Image = _socket("IMAGE")
Mask = _socket("MASK")
Video = _socket("VIDEO")
ClipVision = _socket("CLIP_VISION")
AnyType = _socket("*")
Int = _socket("INT", WidgetInput)
Float = _socket("FLOAT", WidgetInput)
String = _socket("STRING", WidgetInput)
Boolean = _socket("BOOLEAN", WidgetInput)
Combo = _socket("COMBO", WidgetInput)


@dataclass
class Schema:
    """What a node is called, takes and gives."""

    node_id: str
    _: KW_ONLY
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Input] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    search_aliases: list[str] = field(default_factory=list)
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    not_idempotent: bool = False
    has_intermediate_output: bool = False

    def __post_init__(self) -> None:
        for kind, ids in (
            ("input", [entry.id for entry in self.inputs]),
            ("output", [entry.id for entry in self.outputs if entry.id is not None]),
        ):
            if twice := sorted({name for name in ids if ids.count(name) > 1}):
                raise ValueError(f"{self.node_id}: {kind} ids must be unique, but {twice} are not")


class NodeOutput:
    """A node's results, in the order of its outputs, and what the page shows of them."""

    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args = args
        self.ui = ui


class _Locked(type):
    """Classes of running nodes take no new attributes, as in ComfyUI: state lives elsewhere."""

    def __setattr__(cls, name: str, value: object) -> None:
        if cls.__dict__.get("_running", False):
            raise AttributeError(f"Cannot modify class attribute '{name}' of a running node")
        super().__setattr__(name, value)


class ComfyNode(metaclass=_Locked):
    """Base of all nodes: classmethods only."""

    hidden = HiddenValues()

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError(f"{cls.__name__} has no schema")

    @classmethod
    def execute(cls, **inputs: Any) -> Any:
        raise NotImplementedError(f"{cls.__name__} does nothing")

    @classmethod
    def running(cls, hidden: HiddenValues) -> "type[ComfyNode]":
        """The locked throw-away class that one execution sees."""
        members = {"hidden": hidden, "_running": True}
        return _Locked(f"{cls.__name__}Clone", (cls,), members)


def core_node(
    node_id: str, inputs: list[Input], outputs: list[Output], **more: Any
) -> Callable[[Callable[..., Any]], type[ComfyNode]]:
    """Makes a node of a function that takes the inputs by name and returns the only output's value.

    Args: more: further fields of the schema.
    """

    def node(compute: Callable[..., Any]) -> type[ComfyNode]:
        def define_schema(cls: type[ComfyNode]) -> Schema:
            return Schema(node_id=node_id, inputs=inputs, outputs=outputs, **more)

        def execute(cls: type[ComfyNode], **values: Any) -> NodeOutput:
            found = compute(**values)
            return found if isinstance(found, NodeOutput) else NodeOutput(found)

        members = {"define_schema": classmethod(define_schema), "execute": classmethod(execute)}
        return _Locked(node_id, (ComfyNode,), members)

    return node


class ComfyExtension:
    """What a pack's entry point returns."""

    async def on_load(self) -> None:
        """Runs once, before the nodes are asked for."""

    async def get_node_list(self) -> list[type[ComfyNode]]:
        raise NotImplementedError
