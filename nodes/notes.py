"""Sentences that a node shows on itself: what it made of a mask, and why little or nothing happened."""

from collections.abc import Sequence

from .compat import PromptServer, io


def show_notes(node: type[io.ComfyNode], notes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Put the notes on the node that is running, which has to ask for `unique_id`.

    Returns: what to give as `ui`, or to merge into it, so that runs without a page have the notes too;
        empty without notes.
    """
    node_id = getattr(getattr(node, "hidden", None), "unique_id", None)
    if not notes:
        return {}
    if node_id is not None:
        PromptServer.instance.send_progress_text("\n".join(notes), node_id)
    return {"text": tuple(notes)}
