"""Writes locks/: every package that the project installs, by version, and by the hashes of its files.

python tests/tools/make_locks.py          (needs uv: pip install uv)

hashed.txt is for all systems and Pythons that are claimed. torch.txt has torch, torchvision and the CUDA
packages that torch asks for, by version only: they come from several indexes, whose files differ.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "locks"
_BY_VERSION = re.compile(r"(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==")
_HEAD = "# Made by tests/tools/make_locks.py; install with: pip install "


def split(text: str) -> tuple[str, str]:
    """The packages with hashes, and those by version only, of a compiled list."""
    hashed, plain = [], []
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        if _BY_VERSION.match(entry):
            plain.append(entry.split(" \\\n")[0])
        else:
            hashed.append(entry)
    return "\n".join(hashed) + "\n", "\n".join(plain) + "\n"


def main() -> int:
    extras = [
        word
        for name in ("dev", "heic", "exr", "video", "ray", "pgvector", "lancedb")
        for word in ("--extra", name)
    ]
    call = ["uv", "pip", "compile", "pyproject.toml", *extras, "-c", "constraints.txt", "--universal"]
    call += ["--generate-hashes", "--python-version", "3.10", "--no-header", "--no-annotate", "--quiet"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 1
    hashed, plain = split(done.stdout)
    LOCKS.mkdir(exist_ok=True)
    head = f"{_HEAD}--no-deps --require-hashes -r locks/hashed.txt\n"
    (LOCKS / "hashed.txt").write_text(head + hashed, encoding="utf-8")
    (LOCKS / "torch.txt").write_text(f"{_HEAD}--no-deps -r locks/torch.txt\n" + plain, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
