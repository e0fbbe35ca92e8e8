"""PostgreSQL with pgvector: a table of patches under an inverted file, searched by inner product.

The PyPI package pgserver brings both; its server runs below the folder of the export, and ends with us.
Source: https://github.com/pgvector/pgvector (ivfflat, `<#>` is the negative inner product).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..gallery.protocol import Gallery

PGVECTOR_PROBES = 8  # lists that a search looks into
_AT_ONCE = 64  # photos


class PgvectorSource:
    """Patches in PostgreSQL."""

    name = "pgvector"

    def __init__(self, folder: Path) -> None:
        """Raises: ValueError where the extra is not installed."""
        try:
            import pgserver
            import psycopg
        except ImportError:
            raise ValueError("pgvector comes with `pip install raiha[pgvector]`") from None
        self._server = pgserver.get_server(folder.resolve() / "postgres")
        self._base: Any = psycopg.connect(self._server.get_uri(), autocommit=True)
        self._base.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self._base.execute(f"SET ivfflat.probes = {PGVECTOR_PROBES}")

    def fill(self, gallery: Gallery) -> None:
        """Take in all patches and index them in about sqrt(patches) lists."""
        spec = gallery.spec
        self._base.execute("DROP TABLE IF EXISTS patches")
        self._base.execute(f"CREATE TABLE patches (photo integer, content vector({spec.dim}))")
        with self._base.cursor() as cursor, cursor.copy("COPY patches FROM STDIN") as copy:
            for block in gallery.blocks(_AT_ONCE):
                for row, content in zip(block.rows.tolist(), block.content, strict=True):
                    for patch in content.tolist():
                        copy.write_row((row, str(patch)))
        lists = max(1, round(math.sqrt(len(gallery) * spec.patches)))
        self._base.execute("SET maintenance_work_mem = '512MB'")
        self._base.execute(
            f"CREATE INDEX ON patches USING ivfflat (content vector_ip_ops) WITH (lists = {lists})"
        )

    def propose(self, patches: Tensor, count: int) -> NDArray[np.int64]:
        """Photos of the `count` nearest patches of each of (m, D)."""
        rows: set[int] = set()
        for patch in patches.tolist():
            found = self._base.execute(
                "SELECT photo FROM patches ORDER BY content <#> %s::vector LIMIT %s", (str(patch), count)
            )
            rows.update(row for (row,) in found)
        return np.array(sorted(rows), dtype=np.int64)

    def close(self) -> None:
        """Close the connection; the server ends where no one else uses it."""
        self._base.close()
        self._server.cleanup()
