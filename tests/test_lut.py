"""`.cube` tables, read back and interpolated by code of this file alone, and laid on the composite."""

import numpy as np
import pytest
import torch

from raiha_core.cli.main import main
from raiha_core.controls import Controls
from raiha_core.images import read_picture, write_picture
from raiha_core.lut import global_lut, write_cube
from raiha_core.pipeline import harmonize_with_beliefs
from raiha_core.render import LabTransfer, Prediction

# Oracle's bound: Lab bends between two lattice points, at most about this much at 33 and a quarter at 65
TOLERANCE = {33: 1.5 / 255, 65: 0.8 / 255}


def parsed(path):
    """(n, n, n, 3), indexed red, green, blue."""
    lines = path.read_text(encoding="utf-8").splitlines()
    size = int(next(line.split()[1] for line in lines if line.startswith("LUT_3D_SIZE")))
    assert "DOMAIN_MIN 0.0 0.0 0.0" in lines
    assert "DOMAIN_MAX 1.0 1.0 1.0" in lines
    rows = np.array([[float(v) for v in line.split()] for line in lines if line[0].isdigit()])
    assert rows.shape == (size**3, 3)
    return rows.reshape(size, size, size, 3).transpose(2, 1, 0, 3)


def looked_up(table, colours):
    """Trilinear, corner by corner: (N, 3) -> (N, 3)."""
    place = colours * (len(table) - 1)
    low = np.clip(np.floor(place).astype(int), 0, len(table) - 2)
    share, result = place - low, np.zeros_like(colours)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, share, 1 - share), axis=1, keepdims=True)
        result += weight * table[tuple((low + corner).T)]
    return result


def scene():
    generator = torch.Generator().manual_seed(5)
    composite = torch.rand(1, 3, 40, 50, generator=generator) * 0.5 + 0.2
    composite[..., 10:30, 10:35] *= torch.tensor((0.6, 0.9, 1.2))[:, None, None]
    mask = torch.zeros(1, 1, 40, 50)
    mask[..., 10:30, 10:35] = 1
    return composite, mask


@pytest.mark.parametrize("size", [33, 65])
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_the_table_gives_the_harmonized_object(tmp_path, size, strength):
    composite, mask = scene()
    done = harmonize_with_beliefs(composite, mask, model="statistics", strength=strength)
    write_cube(tmp_path / "a.cube", global_lut(done.transform, size, strength))
    inside = mask[0, 0].bool()
    found = looked_up(parsed(tmp_path / "a.cube"), composite[0][:, inside].T.double().numpy())
    assert np.abs(found - done.image[0][:, inside].T.numpy()).max() < TOLERANCE[size]
    assert np.abs(found - composite[0][:, inside].T.numpy()).max() > 0.02


def test_no_change_is_the_identity(tmp_path):
    zero = torch.zeros(1, 3)
    rest = Prediction(lab=LabTransfer(centre=zero, scale=zero + 1, shift=zero))
    write_cube(tmp_path / "a.cube", global_lut(rest, 5), 'a "b"')
    table = parsed(tmp_path / "a.cube")
    assert np.abs(table - np.stack(np.meshgrid(*[np.linspace(0, 1, 5)] * 3, indexing="ij"), -1)).max() < 1e-6
    assert (tmp_path / "a.cube").read_text(encoding="utf-8").startswith("TITLE \"a 'b'\"\n")


def test_what_is_not_global_is_refused_in_a_sentence():
    composite, mask = scene()
    done = harmonize_with_beliefs(composite, mask, model="seam")
    with pytest.raises(ValueError, match="each place in its own way"):
        global_lut(done.transform)
    with pytest.raises(ValueError, match="nothing was harmonized"):
        global_lut(harmonize_with_beliefs(composite, mask, model="statistics", strength=0).transform)
    done = harmonize_with_beliefs(composite, mask, model="statistics")
    with pytest.raises(ValueError, match="work on the picture"):
        global_lut(done.transform, controls=Controls(light=0.5))
    with pytest.raises(ValueError, match=r"2\.\.129, got 1"):
        global_lut(done.transform, 1)
    with pytest.raises(ValueError, match="a table must be"):
        write_cube("never.cube", torch.zeros(2, 2, 3, 3))


def test_the_command_writes_it(tmp_path, capsys):
    composite, mask = scene()
    write_picture(tmp_path / "in.png", composite)
    write_picture(tmp_path / "mask.png", mask.expand(-1, 3, -1, -1))
    call = ["harmonize", tmp_path / "in.png", "--mask", tmp_path / "mask.png", "-o", tmp_path / "out.png"]
    call = [*map(str, call), "--cube", str(tmp_path / "a.cube")]
    assert main([*call, "--cube-size", "65"]) == 0  # the shipped network's change is the same everywhere
    before, after = (read_picture(tmp_path / name).pixels[0] for name in ("in.png", "out.png"))
    inside = mask[0, 0].bool()
    found = looked_up(parsed(tmp_path / "a.cube"), before[:, inside].T.double().numpy())
    assert np.abs(found - after[:, inside].T.numpy()).max() < TOLERANCE[65] + 0.5 / 255
    assert main([*call, "--model", "seam"]) == 1
    assert "no .cube can hold this change" in capsys.readouterr().err
    folder = ["harmonize", str(tmp_path), "--mask", str(tmp_path / "mask.png"), "-o", str(tmp_path / "out")]
    assert main([*folder, "--cube", str(tmp_path / "b.cube")]) == 1
    assert "--cube is of one picture" in capsys.readouterr().err
