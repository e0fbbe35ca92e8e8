"""What is wrong, in words: the words of a stranger's file never end the line they stand in.

Oracle: Python's own escapes read back, and names with line ends, controls and halves of pairs.
"""

import json

import pytest
import torch
from safetensors.torch import save_file

from raiha_core import checkpoint
from raiha_core.features.weights import load_strictly
from raiha_core.models.presets import config_from_json
from raiha_core.reasons import one_line, reason
from tests.network_cases import small

STRANGE = "x\ny\r\u2028\x85\x1b[2J\ud800"


def test_one_line_keeps_what_is_shown_and_escapes_the_rest():
    assert one_line("ä 東京 `a`") == "ä 東京 `a`"
    shown = one_line(STRANGE)
    assert shown.isprintable()
    assert shown.encode("ascii").decode("unicode_escape") == STRANGE
    assert reason(ValueError("a\nb")) == r"a\nb"


def test_every_refusal_of_a_checkpoint_is_one_line_whatever_its_names_are(tmp_path):
    network = small("hdnet")
    path = tmp_path / "net.safetensors"
    about = checkpoint.describe(network, "hdnet").to_json()

    def refusal(changed, state):
        save_file(state, path, {"raiha": json.dumps(changed)})
        with pytest.raises(ValueError, match="x") as caught:
            checkpoint.load(path)
        return str(caught.value)

    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    name = STRANGE.replace("\ud800", "")
    for told in (
        refusal({**about, name: 1}, state),
        refusal({**about, "preset": STRANGE}, state),
        refusal({**about, "config": {**about["config"], STRANGE: 1}}, state),
        refusal({**about, "config": {**about["config"], STRANGE: 1e300}}, state),
        refusal(about, {**state, name: torch.zeros(1)}),
    ):
        assert told.isprintable(), told
        assert r"x\ny" in told


def test_names_of_presets_fields_and_tensors_are_escaped():
    with pytest.raises(ValueError, match=r"unknown preset 'x\\ny'"):
        config_from_json("x\ny", {})
    with pytest.raises(ValueError, match=r"1 unknown \(x\\ny\)"):
        load_strictly(
            torch.nn.Linear(1, 1), {**torch.nn.Linear(1, 1).state_dict(), "x\ny": torch.zeros(1)}, "it"
        )
