"""The shipped constants, and the arithmetic that uses them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from raiha_core.features import centring
from raiha_core.features.centring import Centring, read_centring


@pytest.mark.parametrize("name", ["lite0-384-s32", "lite0-256-s32"])
def test_shipped_constants_are_a_mean_and_orthonormal_directions(name):
    constants = read_centring(name, 128)
    assert constants.mean.shape == (320,)
    assert 0.15 < constants.mean.norm() < 0.35  # a mean of unit vectors; 0.26 was measured at 384
    assert constants.basis.shape == (128, 320)
    torch.testing.assert_close(constants.basis @ constants.basis.T, torch.eye(128), atol=1e-5, rtol=0)


def test_fewer_directions_are_the_first_ones():
    assert torch.equal(
        read_centring("lite0-384-s32", 64).basis, read_centring("lite0-384-s32", 128).basis[:64]
    )
    assert read_centring("lite0-384-s32").basis is None


def test_the_digest_tells_constants_apart():
    digests = {read_centring("lite0-384-s32", n).digest for n in (None, 64, 128)}
    digests.add(read_centring("lite0-256-s32").digest)
    assert len(digests) == 4
    assert read_centring("lite0-384-s32").digest in digests  # the same at every reading


def test_missing_constants_and_directions_are_named():
    with pytest.raises(ValueError, match=r"no-such\.safetensors are missing"):
        read_centring("no-such")
    with pytest.raises(ValueError, match="128 directions, 200 were asked for"):
        read_centring("lite0-384-s32", 200)


@pytest.mark.parametrize("projected", [False, True])
def test_apply_agrees_with_numpy(projected):
    generator = torch.Generator().manual_seed(0)
    raw, mean = torch.randn(2, 6, 3, 4, generator=generator), 0.1 * torch.randn(6, generator=generator)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0][:2] if projected else None
    found = Centring(mean, basis).apply(raw)
    for b, r, c in ((0, 0, 0), (1, 2, 3)):
        v = raw[b, :, r, c].double().numpy()
        v = v / np.linalg.norm(v) - mean.double().numpy()
        v = v if basis is None else basis.double().numpy() @ v
        np.testing.assert_allclose(found[b, :, r, c].numpy(), v / np.linalg.norm(v), atol=1e-5)


def test_a_patch_equal_to_the_mean_becomes_zero_not_nan():
    direction = torch.tensor([0.6, 0.8])
    found = Centring(direction, None).apply(5 * direction.view(1, 2, 1, 1).double()).float()
    assert torch.isfinite(found).all()
    assert found.norm() <= 1 + 1e-6


def test_constants_are_read_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(centring, "_FOLDER", tmp_path)
    save_file({"mean": torch.arange(3.0), "basis": torch.eye(3)[:2].contiguous()}, tmp_path / "x.safetensors")
    found = read_centring("x", 1)
    assert found.mean.tolist() == [0, 1, 2]
    assert found.basis.tolist() == [[1, 0, 0]]
