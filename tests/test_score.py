"""How much seems wrong: a number in stated units, by the command, the function and the node."""

import json
from dataclasses import replace

import pytest
import torch

from raiha_core import checkpoint, model_folders
from raiha_core.cli import main
from raiha_core.color import lab_to_srgb, srgb_to_lab
from raiha_core.harmonizer import Harmonizer
from raiha_core.images import write_picture
from raiha_core.models.presets import SCORERS
from raiha_core.models.style_code import StyleCodeConfig, distance
from raiha_core.pipeline import HarmonizeWarning
from raiha_core.render import LabTransfer, Prediction
from raiha_core.score import RIGHT, in_words, rank, score, second_opinion
from tests.network_cases import fill, pairs
from tests.node_cases import PAIR, make_host, node

NAME = "bargainnet-encoder.safetensors"


class Shifting(Harmonizer):
    """A harmonizer that moves every colour by the same step in Lab."""

    name = "shifting"

    def __init__(self, shift):
        self.shift = torch.tensor([shift])

    def predict(self, composite, mask, references, *, encoder=None, features=None):
        still = torch.zeros(1, 3)
        return Prediction(lab=LabTransfer(centre=still, scale=still + 1, shift=self.shift))


@pytest.fixture(autouse=True)
def no_files(tmp_path, monkeypatch):
    monkeypatch.setenv(model_folders.VARIABLE, str(tmp_path / "models"))
    for variable in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "data"))


def grey(lightness=50.0, height=80, width=120):
    pixel = lab_to_srgb(torch.tensor([lightness, 0.0, 0.0])[None, :, None, None])
    picture = pixel.expand(1, 3, height, width).clone()
    mask = torch.zeros(1, 1, height, width)
    mask[..., 20:50, 30:70] = 1
    return picture, mask


def test_a_step_in_lab_scores_its_length():
    # Oracle: every colour of the object moves by (3, 4, -12), whose length is 13, at any size of the picture.
    picture, mask = grey()
    (found,) = score(picture, mask, Shifting([3.0, 4.0, -12.0]))
    assert found.change == pytest.approx(13, abs=0.02)
    assert (found.lightness, found.red, found.yellow) == pytest.approx((3, 4, -12), abs=0.02)
    assert found.rank is None
    said = in_words(found)
    assert "wrong by 13.0 (CIELAB): it would be made 3.0 lighter, 4.0 redder, 12.0 bluer" in said
    assert score(picture, mask, Shifting([0.0, 0.0, 0.0]))[0].change == 0


def test_a_batch_is_its_single_pictures_and_an_empty_mask_is_right():
    picture, mask = grey()
    model = Shifting([5.0, 0.0, 0.0])
    masks = torch.cat((mask, torch.zeros_like(mask)))
    with pytest.warns(HarmonizeWarning, match="empty"):
        first, second = score(torch.cat((picture, picture)), masks, model)
    assert first == score(picture, mask, model)[0]
    assert second.change == 0
    with pytest.raises(ValueError, match="covers the whole picture"):
        score(picture, torch.ones_like(mask), model)


def test_the_shipped_network_scores_what_was_darkened_higher():
    _, mask, truth = pairs(1, 96, 128)
    lab = srgb_to_lab(truth)
    dark = torch.cat((lab[:, :1] - 25, lab[:, 1:]), 1)
    composite = torch.where(mask > 0, lab_to_srgb(dark).clamp(0, 1), truth)
    (right,), (wrong,) = score(truth, mask), score(composite, mask)
    assert wrong.change > right.change + 5
    assert wrong.lightness > 5
    assert 0 <= right.rank <= wrong.rank <= 1


def test_ranks_grow_with_the_change():
    # Oracle: a list of bounds between equal parts, so a value above k of them is above k parts.
    assert list(RIGHT) == sorted(RIGHT)
    assert rank(0.0) == 0
    assert rank((RIGHT[9] + RIGHT[10]) / 2) == pytest.approx(0.5)
    assert rank(1e6) == pytest.approx(0.95)


@pytest.fixture
def opinion(tmp_path, monkeypatch):
    """BargainNet's encoder, narrow, among the user's weights."""
    narrow = replace(SCORERS["bargainnet-encoder"], config=StyleCodeConfig(width=4))
    monkeypatch.setitem(SCORERS, "bargainnet-encoder", narrow)
    network = fill(narrow.build()).eval()
    path = tmp_path / "models" / NAME
    path.parent.mkdir()
    checkpoint.save(path, network, checkpoint.describe(network, "bargainnet-encoder"))
    return network


def test_bargainnets_encoder_is_heard_where_its_file_is(opinion):
    picture, mask, _ = pairs(1, 256, 256)
    mask = (mask > 0.5).float()  # codes of 1 and 2 are black, to `score`
    second = second_opinion()
    (found,) = score(picture, mask, Shifting([5.0, 0.0, 0.0]), second=second)
    wanted = float(distance(opinion.style, picture, mask).detach())
    assert found.distance == pytest.approx(wanted, rel=1e-5)
    assert found.harmony == pytest.approx(2.718281828 ** (-0.04212 * wanted), rel=1e-5)
    assert "BargainNet's harmony" in in_words(found)


def test_without_the_file_there_is_no_second_opinion():
    assert second_opinion() is None


def test_another_networks_file_is_no_second_opinion(tmp_path):
    from raiha_core.harmonizer import shipped_weights

    with pytest.raises(ValueError, match="holds 'raiha-plus' and not BargainNet's encoder"):
        second_opinion(path=shipped_weights()["raiha-plus"])


def files(folder, name, lightness):
    picture, mask = grey(40.0)
    object_, _ = grey(lightness)
    composite = torch.where(mask > 0, object_, picture)
    for kind, pixels in (("composites", composite), ("masks", mask.expand(-1, 3, -1, -1))):
        (folder / kind).mkdir(exist_ok=True)
        write_picture(folder / kind / f"{name}.png", pixels)
    return folder / "composites" / f"{name}.png", folder / "masks" / f"{name}.png"


def test_the_command_scores_one_and_orders_a_folder(tmp_path, capsys):
    calm, mask = files(tmp_path, "calm", 42.0)
    files(tmp_path, "loud", 75.0)
    assert main(["score", str(calm), "--mask", str(mask), "--model", "statistics", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["unit"], one["model"], one["rank"]) == ("CIELAB", "statistics", None)
    (tmp_path / "composites" / "layers.psd").write_bytes(b"8BPS")
    assert main(["score", str(tmp_path / "composites"), "--mask", str(tmp_path / "masks"), "--json"]) == 0
    printed = capsys.readouterr()
    assert "1 file was passed over: 1 .psd" in printed.err
    both = json.loads(printed.out)["scores"]
    assert [entry["composite"].split("/")[-1] for entry in both] == ["loud.png", "calm.png"]
    assert both[0]["change"] > both[1]["change"]
    assert both[0]["rank"] is not None
    assert main(["score", str(calm), "--mask", str(mask)]) == 0
    assert "seems wrong by" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.rglob("*.png")) == ["calm.png"] * 2 + ["loud.png"] * 2


def test_wrong_calls_are_one_sentence(tmp_path, capsys):
    calm, _ = files(tmp_path, "calm", 42.0)
    assert main(["score", str(calm), "--mask", str(tmp_path / "none.png")]) == 1
    assert "none.png does not exist" in capsys.readouterr().err
    assert main(["score", str(calm), "--mask", str(tmp_path / "masks")]) == 1
    assert "--mask must be a file" in capsys.readouterr().err


def test_the_node_hears_the_encoder_of_the_hosts_models(tmp_path, opinion):
    base = tmp_path / "host"
    base.mkdir()
    host = make_host(base)
    (host.folder("models") / "raiha").mkdir(exist_ok=True)
    (tmp_path / "models" / NAME).rename(host.folder("models") / "raiha" / NAME)
    history = host.run({**PAIR, "4": node("Raiha_Score", composite=["1", 0], mask=["2", 0])})
    assert "BargainNet's harmony" in history.outputs["4"]["text"][-1]


def test_the_node_scores_with_the_shipped_network_or_with_another(tmp_path):
    host = make_host(tmp_path)
    prompt = {
        **PAIR,
        "3": node("Raiha_LoadHarmonizer", harmonizer="statistics"),
        "4": node("Raiha_Score", composite=["1", 0], mask=["2", 0]),
        "5": node("Raiha_Score", composite=["1", 0], mask=["2", 0], harmonizer=["3", 0]),
    }
    history = host.run(prompt)
    shipped, other = (history.outputs[name]["text"] for name in ("4", "5"))
    assert "of right pictures score less" in shipped[-1]
    assert "of right pictures score less" not in other[-1]
    assert "lighter" in shipped[-1]  # the object of this host was darkened by half
