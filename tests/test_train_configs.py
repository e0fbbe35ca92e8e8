"""train/configs, experiment.py, schedule.py: every config builds and says what it is; rates' closed forms."""

import dataclasses
import math
import re
import sys
from pathlib import Path

import pytest
import torch

from raiha_core.models.cost import on_meta, parameters
from raiha_core.models.hdnet import UNetConfig
from raiha_core.models.plus import PlusConfig
from raiha_core.models.presets import PRESETS
from raiha_train import experiment as experiments
from raiha_train.experiment import (
    FORMER_NAMES,
    Experiment,
    Optimisation,
    ReferenceShares,
    load_experiment,
    setting_differences,
)
from raiha_train.loop import train
from raiha_train.loop.objective import Objective
from raiha_train.loop.optimizer import make_optimizer, set_rate
from raiha_train.loop.schedule import Average, rate_factor
from raiha_train.losses.terms import LossConfig
from tests.training_cases import write_config

CONFIGS = sorted((Path(__file__).parents[1] / "train" / "configs").glob("*.py"))
NAMES = {
    *("hdnet", "raiha", "raiha_released", "raiha_no_augmentation", "raiha_no_retrieval", "raiha_no_sgf"),
    "raiha_paper_data",
    *(
        "rcl",
        "rcl_no_style_fusion",
        "rcl_no_contrastive",
        "plus",
        "plus_small_data",
        "plus_small_data_128",
        "plus_small_data_192",
        "plus_small_data_256",
        "plus_small_data_steady",
        "smoke",
    ),
    *("pctnet_cnn", "issam256", "rainnet"),
}
PARAMETERS = {"hdnet": 10_414_389 - 902, "raiha": 11_461_173 - 902}  # the public counts, less idle weights


def test_all_are_there():
    assert {path.stem for path in CONFIGS} == NAMES


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_and_its_header_says_what_command_hours_and_score(path):
    experiment = load_experiment(path)
    network = on_meta(PRESETS[experiment.preset], experiment.network)
    assert parameters(network) > 100_000
    header = path.read_text(encoding="utf-8").split('"""')[1].strip().splitlines()
    assert len(header) == 5, header
    assert header[0].endswith(".")
    assert header[1] == ""
    assert re.fullmatch(
        rf"Command: accelerate launch train/train\.py train/configs/{path.stem}\.py.*", header[2]
    )
    assert header[3].startswith("Hours: ")
    assert header[4].startswith("Expected: ")
    assert re.search(r"not measured|px|protocol", header[4])
    named = re.findall(r"--[a-z-]+", header[2])
    assert ("--data" in named) == (experiment.source != "synthesis" or "--illuminants" in named)
    assert ("--lists" in named) == (experiment.references.retrieved > 0)
    assert ("--illuminants" in named) == (
        experiment.source == "synthesis" and experiment.synthesis.illuminant > 0
    )
    assert ("--encoder-weights" in named) == (experiment.encoder == "dvt-b14")
    arguments = train.parse_arguments(header[2].split()[4:])
    assert arguments.config == Path(f"train/configs/{path.stem}.py")


def by_name(name: str) -> dict:
    return load_experiment(next(path for path in CONFIGS if path.stem == name)).to_json()


@pytest.mark.parametrize(
    ("ablation", "base", "fields"),
    [
        ("raiha_no_augmentation", "raiha", {"references.augmented", "references.retrieved"}),
        ("raiha_no_retrieval", "raiha", {"references.augmented", "references.retrieved"}),
        ("raiha_no_sgf", "raiha", {"encoder", "network.guidance", "network.content_dim"}),
        ("rcl_no_style_fusion", "rcl", {"network.style_fusion"}),
        ("rcl_no_contrastive", "rcl", {"loss.contrast"}),
    ],
)
def test_an_ablation_changes_what_its_name_says_and_nothing_else(ablation, base, fields):
    found = {line.split(":")[0] for line in setting_differences(by_name(base), by_name(ablation))}
    assert found == {"name", *fields}


def test_the_paper_s_recipe_is_to_the_letter():
    raiha = experiments.load_experiment(next(path for path in CONFIGS if path.stem == "raiha"))
    settings = raiha.optimisation
    assert (raiha.epochs, raiha.batch, raiha.size) == (60, 48, 256)
    assert (settings.optimizer, settings.rate, settings.schedule) == ("adam", 0.004, "linear")
    assert raiha.loss == LossConfig()  # eq. 11
    steps = 60 * 1000
    assert rate_factor(39_999, steps, settings) == 1
    assert rate_factor(50_000, steps, settings) == pytest.approx(0.5, abs=1e-3)
    assert 0 < rate_factor(steps - 1, steps, settings) < 1e-3


@pytest.mark.parametrize(
    ("name", "batch", "epochs", "rates"),
    [  # of the public training scripts: the rate at shares of the run
        ("pctnet_cnn", 16, 180, {0: 5e-4, 159: 5e-4, 160: 5e-5, 174: 5e-5, 175: 5e-6}),
        ("issam256", 16, 120, {0: 1e-3, 104: 1e-3, 105: 1e-4, 114: 1e-4, 115: 1e-5}),
        ("rainnet", 11, 200, {0: 2e-4, 99: 2e-4, 150: 1e-4, 180: 4e-5}),
    ],
)
def test_recipes_of_published_methods_have_their_authors_rates(name, batch, epochs, rates):
    found = load_experiment(next(path for path in CONFIGS if path.stem == name))
    assert (found.batch, found.epochs, found.size, found.optimisation.optimizer) == (
        batch,
        epochs,
        256,
        "adam",
    )
    for epoch, rate in rates.items():
        factor = rate_factor(epoch, epochs, found.optimisation)  # an epoch a step
        assert found.optimisation.rate * factor == pytest.approx(
            rate, rel=0.06
        )  # theirs begins to fall an epoch earlier


def test_rates_have_closed_forms():
    cosine = Optimisation(schedule="cosine", warmup_steps=4)
    assert [rate_factor(s, 104, cosine) for s in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rate_factor(4, 104, cosine) == 1
    assert rate_factor(54, 104, cosine) == pytest.approx(0.5)
    assert rate_factor(79, 104, cosine) == pytest.approx(0.5 * (1 + math.cos(0.75 * math.pi)))
    steps = Optimisation(schedule="steps", marks=(0.5, 0.9))
    assert [rate_factor(s, 10, steps) for s in (0, 4, 5, 8, 9)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert rate_factor(7, 10, Optimisation(schedule="constant")) == 1
    down = [rate_factor(s, 60, Optimisation(schedule="linear", marks=(40 / 60,))) for s in range(60)]
    assert down[:40] == [1.0] * 40
    # with an epoch a step: the authors' 1 - (n - 40) / 21
    assert down[40:] == pytest.approx([1 - n / 21 for n in range(20)])


def test_pretrained_weights_have_their_share_of_the_rate():
    experiment = load_experiment(next(path for path in CONFIGS if path.stem == "plus_small_data"))
    network = on_meta(PRESETS["raiha-plus"], experiment.network)
    optimizer = make_optimizer(Objective(network, experiment), experiment)
    set_rate(optimizer, 50, 100, dataclasses.replace(experiment, optimisation=Optimisation(rate=1.0)))
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([1.0, 0.2])
    frozen = {id(p) for p in network.backbone.parameters() if not p.requires_grad}
    assert frozen
    assert not frozen & {id(p) for group in optimizer.param_groups for p in group["params"]}


def test_the_average_is_the_recursion_and_exchanging_twice_changes_no_bit():
    network = torch.nn.Linear(3, 2)
    average = Average(network, 0.9)
    expected = network.weight.detach().clone()
    for step in range(1, 40):
        with torch.no_grad():
            network.weight.add_(torch.randn(2, 3, generator=torch.Generator().manual_seed(step)))
        average.update(network, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.weight.detach()
    torch.testing.assert_close(average.state["weight"], expected, rtol=1e-4, atol=1e-5)
    own, kept = network.weight.detach().clone(), average.state["weight"].clone()
    average.exchange(network)
    assert torch.equal(network.weight, kept)
    average.exchange(network)
    assert torch.equal(network.weight, own)
    assert torch.equal(average.state["weight"], kept)


UNET = {"name": "x", "preset": "hdnet", "network": UNetConfig(width=2), "steps": 1}
PLUS = {"name": "x", "preset": "raiha-plus", "network": PlusConfig(), "steps": 1}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**UNET, "preset": "none"}, "unknown preset 'none'"),
        ({**UNET, "network": PlusConfig()}, "takes a UNetConfig"),
        ({**UNET, "size": 128}, "trained at 128 px, but the network says it is for 256"),
        ({**UNET, "batch": 10, "micro_batch": 4}, "batch 10 is not a multiple of micro_batch 4"),
        ({**UNET, "keep": 1}, "keep at least 2"),
        ({**UNET, "references": ReferenceShares()}, "reads no references"),
        ({**PLUS, "references": ReferenceShares(most=5)}, "5 references per sample"),
        ({**PLUS, "references": ReferenceShares()}, "name an encoder"),
        ({**PLUS, "loss": LossConfig(contrast=0.1)}, "a U-Net's layers"),
        ({**UNET, "steps": 0, "epochs": 0}, "needs steps or epochs"),
        ({**UNET, "region_share": 1.5}, r"region_share must lie in 0\.\.1, got 1\.5"),
        ({**UNET, "save_every": 0}, "save_every must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_values(fields, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**fields)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Optimisation(rate=0), "rate > 0"),
        (lambda: Optimisation(marks=(1.5,)), "shares of the run"),
        (lambda: ReferenceShares(none=-1), "not be negative"),
        (lambda: ReferenceShares(none=0, retrieved=0, augmented=0), "some share"),
        (lambda: ReferenceShares(augmented_side=1.0), "less than the picture, got 1.0"),
    ],
)
def test_parts_are_checked_too(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_an_unknown_field_a_missing_config_and_a_wrong_name_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"odd\.py: .*unexpected keyword argument 'learning_rate'"):
        load_experiment(write_config(tmp_path, "odd", learning_rate=3))
    with pytest.raises(ValueError, match=r"there is no config .*none\.py"):
        load_experiment(tmp_path / "none.py")
    path = write_config(tmp_path, "first")
    path.rename(tmp_path / "second.py")
    with pytest.raises(ValueError, match="names its experiment 'first'"):
        load_experiment(tmp_path / "second.py")
    (tmp_path / "empty.py").write_text("X = 1\n")
    with pytest.raises(ValueError, match="defines no EXPERIMENT"):
        load_experiment(tmp_path / "empty.py")


def test_differences_name_nested_fields_and_both_values():
    first, second = {"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 1, "c": 3}, "d": [2]}
    assert setting_differences(first, second) == ["a.c: 2 != 3", "d: [1] != [2]"]
    assert setting_differences(first, first) == []


def test_a_config_from_before_training_left_the_core_opens(tmp_path):
    """As users copied them: a module `experiment`, and settings that lay in raiha_core."""
    new = write_config(tmp_path, "mine")
    text = new.read_text(encoding="utf-8")
    old = tmp_path / "old" / "mine.py"
    old.parent.mkdir()
    for now, before in (
        ("raiha_train.experiment", "experiment"),
        ("raiha_train.losses.terms", "raiha_core.losses"),
        ("raiha_train.losses.contrastive", "raiha_core.contrastive"),
        ("raiha_train.data", "raiha_core.data"),
    ):
        assert f"from {now}" in text
        text = text.replace(f"from {now}", f"from {before}")
    old.write_text(text, encoding="utf-8")
    assert load_experiment(old) == load_experiment(new)
    for name in FORMER_NAMES:  # only configs see the former names
        assert name not in sys.modules
