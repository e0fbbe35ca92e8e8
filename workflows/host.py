"""The embedded host: runs API-format workflows without ComfyUI, with the same nodes and pixels.

It stands in for the part of ComfyUI that Raiha's nodes touch. `host_io` and `host_ui` carry the names a
node is written in, `host_services` folders, memory and progress, `host_validate` the checks before a run,
and `host_loading`, `host_saving`, `host_images`, `host_masks`, `host_video` the core nodes that our
workflows use. Everything else needs ComfyUI itself (`run.py --comfyui`).
"""

import asyncio
import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from . import host_images, host_loading, host_masks, host_saving, host_session, host_video
from . import host_io as io
from .host_graph import Prompt, is_wire, run_order
from .host_services import model_management
from .host_session import InterruptProcessingException, Session
from .host_validate import faults, unknown_nodes


class PromptError(ValueError):
    """A prompt was refused or a node failed: one sentence that names the node."""


@dataclass(slots=True)
class History:
    """What a run left: per output node its UI entry, as ComfyUI's `history` has it."""

    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)  # node ids in the order of execution


class Host:
    """One set of folders and nodes. `base` receives input, output, temp, user and models."""

    def __init__(self, base: Path, on_progress: Callable[[str, int, int], None] | None = None) -> None:
        self._session = Session(base=base, on_progress=on_progress)
        core = (host_loading, host_saving, host_images, host_masks, host_video)
        with self.session():
            listed = [node for module in core for node in module.NODES] + asyncio.run(self._pack_nodes())
            self.nodes: dict[str, type[io.ComfyNode]] = {
                node.define_schema().node_id: node for node in listed
            }

    @staticmethod
    async def _pack_nodes() -> list[type[io.ComfyNode]]:
        from ..nodes import comfy_entrypoint  # here: the pack needs a session to list its files

        extension = await comfy_entrypoint()
        await extension.on_load()
        return await extension.get_node_list()

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Code inside sees this host's folders."""
        with host_session.entered(self._session) as session:
            yield session

    def folder(self, kind: str) -> Path:
        """The host's `input`, `output`, `temp`, `user` or `models` folder."""
        return self._session.folder(kind)

    def interrupt(self) -> None:
        """Stop the running prompt before its next node, or where its node next asks."""
        self._session.interrupted = True

    def check(self, prompt: Prompt) -> list[str]:
        """The ids of the nodes to run, in order; widget values in `prompt` are converted in place.

        Raises: PromptError with a sentence per fault.
        """
        for node in prompt.values():
            node.setdefault("inputs", {})
        with self.session():
            if unknown := unknown_nodes(prompt, self.nodes):
                raise PromptError("; ".join(unknown))
            schemas = {
                node_id: self.nodes[node["class_type"]].define_schema() for node_id, node in prompt.items()
            }
            outputs = [node_id for node_id, schema in schemas.items() if schema.is_output_node]
            if not outputs:
                raise PromptError("the workflow has no output node, so nothing would be saved or shown")
            try:
                wanted = run_order(prompt, outputs)
            except ValueError as error:
                raise PromptError(str(error)) from None
            if found := [fault for node_id in wanted for fault in faults(node_id, prompt, self.nodes)]:
                raise PromptError("; ".join(found))
        return wanted

    def run(self, prompt: Prompt, extra_pnginfo: dict[str, Any] | None = None) -> History:
        """Check, then execute every output node and what it needs, each node once.

        Raises: PromptError naming node and reason, also where only some outputs are faulty.
        """
        prompt = copy.deepcopy(prompt)
        wanted = self.check(prompt)
        with self.session() as session, torch.inference_mode():
            session.interrupted = False
            run = _Run(prompt, self.nodes, session, extra_pnginfo)
            for node_id in wanted:
                run.node(node_id)
        return run.history


class _Run:
    """One execution of one prompt."""

    def __init__(
        self,
        prompt: Prompt,
        nodes: dict[str, type[io.ComfyNode]],
        session: Session,
        extra_pnginfo: dict[str, Any] | None,
    ) -> None:
        self.prompt = prompt
        self.nodes = nodes
        self.session = session
        self.extra_pnginfo = extra_pnginfo
        self.results: dict[str, list[list[Any]]] = {}  # node id -> per output slot a list of values
        self.history = History()

    def node(self, node_id: str) -> None:
        """Execute a node whose sources have run."""
        kind = self.prompt[node_id]["class_type"]
        schema = self.nodes[kind].define_schema()
        known = {entry.id for entry in schema.inputs}
        values = {
            name: self.results[value[0]][value[1]] if is_wire(value) else [value]
            for name, value in self.prompt[node_id]["inputs"].items()
            if name in known
        }
        node = self.nodes[kind].running(self._hidden(node_id, schema))
        self.session.node_id = node_id
        try:
            model_management.throw_exception_if_processing_interrupted()
            answers = [_execute(node, call) for call in _calls(values, schema)]
        except InterruptProcessingException:
            raise PromptError(f"node {node_id} ({kind}) was interrupted") from None
        except Exception as error:  # whatever a node raises is reported with its name
            raise PromptError(f"node {node_id} ({kind}): {error}") from error
        self.history.executed.append(node_id)
        self._keep_ui(node_id, answers)
        self.results[node_id] = _slots(answers, schema)

    def _hidden(self, node_id: str, schema: io.Schema) -> io.HiddenValues:
        """What the schema asks for; output nodes see the prompt in any case."""
        asked = set(schema.hidden)
        if schema.is_output_node:
            asked |= {io.Hidden.prompt, io.Hidden.extra_pnginfo}
        return io.HiddenValues(
            unique_id=node_id if io.Hidden.unique_id in asked else None,
            prompt=self.prompt if io.Hidden.prompt in asked else None,
            extra_pnginfo=self.extra_pnginfo if io.Hidden.extra_pnginfo in asked else None,
        )

    def _keep_ui(self, node_id: str, answers: list[io.NodeOutput]) -> None:
        for answer in answers:
            if answer.ui is None:
                continue
            shown = answer.ui if isinstance(answer.ui, dict) else answer.ui.as_dict()
            kept = self.history.outputs.setdefault(node_id, {})
            for name, entries in shown.items():
                kept[name] = [*kept.get(name, []), *entries]


def _execute(node: type[io.ComfyNode], call: dict[str, Any]) -> io.NodeOutput:
    answer = node.execute(**call)
    if asyncio.iscoroutine(answer):
        answer = asyncio.run(answer)
    return answer if isinstance(answer, io.NodeOutput) else io.NodeOutput(*(answer or ()))


def _calls(values: dict[str, list[Any]], schema: io.Schema) -> list[dict[str, Any]]:
    """One call per item of the longest list, shorter lists repeating their last; or one with all lists."""
    if schema.is_input_list:
        return [values]
    if empty := [name for name, entries in values.items() if not entries]:
        raise ValueError(f"an empty list arrives at '{empty[0]}'")
    count = max((len(entries) for entries in values.values()), default=1)
    return [
        {name: entries[min(i, len(entries) - 1)] for name, entries in values.items()} for i in range(count)
    ]


def _slots(answers: list[io.NodeOutput], schema: io.Schema) -> list[list[Any]]:
    """Per output slot the list of values that the next node is mapped over."""
    slots: list[list[Any]] = []
    for index, output in enumerate(schema.outputs):
        values = [answer.args[index] for answer in answers if index < len(answer.args)]
        slots.append([item for value in values for item in value] if output.is_output_list else values)
    return slots
