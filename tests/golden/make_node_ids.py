"""Writes node_ids.json: what saved workflows rely on. Run it only to add nodes or inputs, never to rename.

python tests/golden/make_node_ids.py
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("node_ids.json")


def describe_nodes() -> dict[str, dict[str, Any]]:
    """Per node id its inputs in order (name, type, whether optional) and its outputs (name, type)."""
    sys.path.insert(0, str(ROOT))
    from workflows.run import pack

    with tempfile.TemporaryDirectory() as base:
        host = pack("workflows.host").Host(Path(base))
        with host.session():
            schemas = [node.define_schema() for node in pack("nodes").NODES]
    return {
        schema.node_id: {
            "inputs": [[entry.id, entry.io_type, bool(entry.optional)] for entry in schema.inputs],
            "outputs": [[entry.id, entry.io_type] for entry in schema.outputs],
        }
        for schema in schemas
    }


if __name__ == "__main__":
    lines = [f"  {json.dumps(name)}: {json.dumps(node)}" for name, node in describe_nodes().items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
