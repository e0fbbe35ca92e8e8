"""LanceDB: one row a photo, all its patches in a multivector column.

Asked with one vector such a column answers by the best cosine over the photo's patches: the inner maximum
of eq. 3.
Source: https://lancedb.github.io/lancedb (multivector search, distance "cosine").
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..gallery.protocol import Gallery

_AT_ONCE = 64  # photos
_TABLE = "photos"
LEAST_INDEXED = 1000  # photos; fewer are compared one by one
LANCE_PROBES = 32  # lists that a search looks into


class LanceSource:
    """Photos in a LanceDB table."""

    name = "lancedb"

    def __init__(self, folder: Path) -> None:
        """Raises: ValueError where the extra is not installed."""
        try:
            import lancedb
        except ImportError:
            raise ValueError("lancedb comes with `pip install raiha[lancedb]`") from None
        self._base: Any = lancedb.connect(str(folder.resolve() / "lance"))
        self._table: Any = None

    def fill(self, gallery: Gallery) -> None:
        """Take in all photos; those of a large gallery are indexed in about sqrt(patches) lists."""
        import pyarrow

        spec = gallery.spec
        vectors = pyarrow.list_(pyarrow.list_(pyarrow.float16(), spec.dim))
        schema = pyarrow.schema([("row", pyarrow.int64()), ("content", vectors)])

        def batches() -> Iterator[Any]:
            for block in gallery.blocks(_AT_ONCE):
                numbers = pyarrow.array(block.content.numpy().ravel())
                patches = pyarrow.FixedSizeListArray.from_arrays(numbers, spec.dim)
                starts = np.arange(len(block) + 1, dtype=np.int32) * spec.patches
                photos = pyarrow.ListArray.from_arrays(pyarrow.array(starts), patches)
                yield pyarrow.record_batch([pyarrow.array(block.rows.numpy()), photos], schema=schema)

        self._table = self._base.create_table(_TABLE, data=batches(), schema=schema, mode="overwrite")
        if len(gallery) >= LEAST_INDEXED:
            self._table.create_index(
                metric="cosine",
                vector_column_name="content",
                index_type="IVF_FLAT",
                num_partitions=round(math.sqrt(len(gallery) * spec.patches)),
            )

    def propose(self, patches: Tensor, count: int) -> NDArray[np.int64]:
        """The `count` photos that are nearest to each of the patches (m, D)."""
        if self._table is None:
            self._table = self._base.open_table(_TABLE)
        rows: set[int] = set()
        for patch in patches.float().numpy():
            asked = self._table.search(patch, vector_column_name="content").distance_type("cosine")
            found = asked.nprobes(LANCE_PROBES).select(["row", "_distance"]).limit(count).to_arrow()
            rows.update(found["row"].to_pylist())
        return np.array(sorted(rows), dtype=np.int64)

    def close(self) -> None:
        """Forget the table; nothing runs."""
        self._table = None
