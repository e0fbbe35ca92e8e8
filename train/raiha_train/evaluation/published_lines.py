"""Lines of other methods: published per-image scores over the images at hand, and the printed tables."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .published import PeerScore, peers
from .table_rows import TableLine


def _mean(scores: Sequence[PeerScore]) -> dict[str, float]:
    return {
        "mse": math.fsum(s.mse for s in scores) / len(scores),
        "psnr": math.fsum(s.psnr for s in scores) / len(scores),
    }


def peer_means(ids: Collection[str]) -> dict[tuple[str, str], tuple[dict[str, float], int]]:
    """(method, protocol) -> its published means over those of `ids` that are published, and their number."""
    return {key: (_mean(scores), len(scores)) for key, scores in peers(ids).items() if scores}


def peer_lines(ids: Collection[str]) -> list[TableLine]:
    """Means of each published method over `ids`; nothing where none of them is a published image."""
    lines = []
    for (method, protocol), scores in peers(ids).items():
        if not scores:
            continue
        subsets = dict.fromkeys(s.subset for s in scores)
        parts = {name: _mean([s for s in scores if s.subset == name]) for name in subsets}
        lines.append(
            TableLine(
                method=method,
                source="peer",
                protocol=protocol,
                count=len(scores),
                scores={"average": _mean(scores), **parts},
            )
        )
    return lines


def paper_lines(table: Mapping[str, Any]) -> list[TableLine]:
    """The printed rows of one table."""
    return [
        TableLine(
            method=row["method"],
            source="paper",
            protocol=row["protocol"],
            count=table["count"],
            scores=row["scores"],
        )
        for row in table["rows"]
    ]
