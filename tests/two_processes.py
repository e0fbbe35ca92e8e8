"""Runs train.main in this process and writes what it saw: pictures per micro-batch, the first gradient.

Started by tests/test_train_processes.py, once alone and once under `torchrun --nproc_per_node 2`.
Usage: python two_processes.py OUT ARGUMENTS...; OUT gets seen_RANK.json and gradient_RANK.safetensors.
"""

import json
import os
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "train")]

from accelerate import Accelerator  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from raiha_train.data.feed import Feed  # noqa: E402
from raiha_train.loop import train  # noqa: E402

if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    seen: list[list[object]] = []
    gradients: dict[str, torch.Tensor] = {}
    finish, clip = Feed.finish, Accelerator.clip_grad_norm_

    def watch_finish(self, raw, k):  # type: ignore[no-untyped-def]
        if self.experiment.seed == 0:  # not the validation feed
            seen.append([k, list(raw.ids)])
        return finish(self, raw, k)

    def watch_clip(self, parameters, *rest):  # type: ignore[no-untyped-def]
        kept = list(parameters)
        if not gradients:
            gradients.update({str(i): p.grad.clone() for i, p in enumerate(kept) if p.grad is not None})
        return clip(self, kept, *rest)

    Feed.finish, Accelerator.clip_grad_norm_ = watch_finish, watch_clip
    code = train.main(sys.argv[2:])
    rank = os.environ.get("RANK", "0")
    (out / f"seen_{rank}.json").write_text(json.dumps(seen))
    save_file(gradients, out / f"gradient_{rank}.safetensors")
    sys.exit(code)
