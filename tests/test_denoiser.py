"""The DVT denoiser: its published shapes, and a slow version of its arithmetic."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raiha_core.features.denoiser import Denoiser, denoiser_state
from raiha_core.features.weights import load_strictly

SHAPES = {  # of the authors' checkpoint
    "pos_embed": (1, 1369, 768),
    "denoiser.norm1.weight": (768,),
    "denoiser.norm1.bias": (768,),
    "denoiser.attn.qkv.weight": (2304, 768),
    "denoiser.attn.qkv.bias": (2304,),
    "denoiser.attn.proj.weight": (768, 768),
    "denoiser.attn.proj.bias": (768,),
    "denoiser.norm2.weight": (768,),
    "denoiser.norm2.bias": (768,),
    "denoiser.mlp.fc1.weight": (3072, 768),
    "denoiser.mlp.fc1.bias": (3072,),
    "denoiser.mlp.fc2.weight": (768, 3072),
    "denoiser.mlp.fc2.bias": (768,),
}


def test_shapes_and_size_are_the_published_ones():
    denoiser = Denoiser()
    assert {name: tuple(v.shape) for name, v in denoiser.state_dict().items()} == SHAPES
    assert sum(p.numel() for p in denoiser.parameters()) == 8_139_264


def small(seed: int = 0) -> Denoiser:
    torch.manual_seed(seed)
    denoiser = Denoiser(width=8, heads=2, positions=3).double()
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return denoiser


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * weight + bias


def gelu(x: np.ndarray) -> np.ndarray:
    return np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])


def slow(denoiser: Denoiser, features: np.ndarray) -> np.ndarray:
    """Token by token and head by head, on the table's own grid: (D, h, w) -> (D, h, w)."""
    w = {name: v.numpy() for name, v in denoiser.state_dict().items()}
    width, h, wide = features.shape
    heads, size = 2, width // 2
    tokens = [features[:, r, c] + w["pos_embed"][0, r * wide + c] for r in range(h) for c in range(wide)]
    normed = [layer_norm(t, w["denoiser.norm1.weight"], w["denoiser.norm1.bias"]) for t in tokens]
    qkv = [w["denoiser.attn.qkv.weight"] @ t + w["denoiser.attn.qkv.bias"] for t in normed]
    out = []
    for i, token in enumerate(tokens):
        mixed = np.zeros(width)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            q = qkv[i][:width][part]
            scores = np.array([q @ other[width : 2 * width][part] for other in qkv]) / math.sqrt(size)
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            mixed[part] = sum(a * other[2 * width :][part] for a, other in zip(weights, qkv, strict=True))
        token = token + w["denoiser.attn.proj.weight"] @ mixed + w["denoiser.attn.proj.bias"]
        y = layer_norm(token, w["denoiser.norm2.weight"], w["denoiser.norm2.bias"])
        y = gelu(w["denoiser.mlp.fc1.weight"] @ y + w["denoiser.mlp.fc1.bias"])
        out.append(token + w["denoiser.mlp.fc2.weight"] @ y + w["denoiser.mlp.fc2.bias"])
    return np.stack(out, 1).reshape(width, h, wide)


def test_agrees_with_a_loop_over_tokens():
    denoiser = small()
    features = torch.randn(2, 8, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        found = denoiser(features)
    for b in range(2):
        np.testing.assert_allclose(found[b].numpy(), slow(denoiser, features[b].numpy()), atol=1e-10)


def test_other_grids_get_the_table_resampled():
    # Oracle: adding the resampled table by hand and running on a table of zeros gives the same.
    denoiser, bare = small(), Denoiser(width=8, heads=2, positions=2).double()
    state = denoiser.state_dict()
    bare.load_state_dict({**state, "pos_embed": torch.zeros(1, 4, 8)})
    table = state["pos_embed"].transpose(1, 2).reshape(1, 8, 3, 3)
    table = F.interpolate(table, size=(2, 2), mode="bicubic", antialias=True)
    features = torch.randn(1, 8, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(denoiser(features), bare(features + table))


@pytest.mark.parametrize("wrap", [True, False])
def test_checkpoints_open_as_the_authors_save_them_or_bare(wrap):
    denoiser = small(1)
    state = dict(denoiser.state_dict())
    content = {"denoiser": {**state, "vit.cls_token": torch.zeros(1)}, "optimizer": {}, "step": 9}
    found = denoiser_state(content if wrap else state, "d.pth")
    assert found.keys() == state.keys()
    other = small(2)
    load_strictly(other, found, "d.pth")
    assert torch.equal(other.pos_embed, denoiser.pos_embed)


def test_what_is_no_denoiser_is_refused_by_name():
    with pytest.raises(ValueError, match=r"d\.pth holds no denoiser: .*pos_embed"):
        denoiser_state({"weight": torch.zeros(1)}, "d.pth")
    with pytest.raises(ValueError, match=r"d\.pth holds no denoiser"):
        denoiser_state({"denoiser": torch.zeros(1)}, "d.pth")
