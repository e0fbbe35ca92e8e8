"""The weights that come with the package: they say what they are, score what they say, and do no harm."""

import importlib.util
import json
import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

from raiha_core.checkpoint import read_metadata
from raiha_core.drawing import from_pil
from raiha_core.features.encoders import build_encoder
from raiha_core.gallery.memory import memory_gallery
from raiha_core.harmonizer import DEFAULT_MODEL, load_harmonizer, shipped_weights
from raiha_core.pipeline import harmonize
from raiha_core.retrieval.search import make_query, references, search_many
from raiha_train.evaluation import evaluate

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "assets" / "scenes" / "photos"


def bench_triples(folder: Path) -> Path:
    spec = importlib.util.spec_from_file_location("bench_run", ROOT / "train" / "bench" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.triples(folder)


def disc(photo: str, box: tuple[float, float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """A shipped photo and an ellipse in it."""
    picture = from_pil(Image.open(PHOTOS / photo).convert("RGB"))
    height, width = picture.shape[-2:]
    left, top, right, bottom = box
    y, x = torch.arange(height)[:, None] / height, torch.arange(width)[None] / width
    u, v = (x - (left + right) / 2) / (right - left) * 2, (y - (top + bottom) / 2) / (bottom - top) * 2
    return picture, ((1 - (u**2 + v**2).sqrt()) * 60 + 0.5).clamp(0, 1)[None, None]


def levels(first: torch.Tensor, second: torch.Tensor, mask: torch.Tensor) -> float:
    """Root mean squared difference over the object, in grey levels."""
    return float((((255 * (first - second)).square() * mask).sum() / (3 * mask.sum())).sqrt())


def test_the_file_is_small_and_names_config_data_revision_steps_licence_and_scores():
    path = shipped_weights()[DEFAULT_MODEL]
    assert path.stat().st_size < 40e6
    about = read_metadata(path)
    assert about.preset == "raiha-plus"
    assert json.loads(about.notes["experiment"])["name"] == "plus_small_data"
    assert len(about.notes["revision"]) == 40
    assert int(about.notes["step"]) > 0
    assert about.notes["data_fingerprint"]
    assert "non-commercial" in about.licence
    for data in ("dev_iharmony4", "dev_daynight", "dev_real_masked", "held_out"):
        assert f"{data}, protocol A, PSNR" in about.scores
    card = (path.parent / "README.md").read_text(encoding="utf-8")
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "train/RESULTS.md")]
    dev = [v for k, v in about.scores.items() if k.startswith("dev_") and k.endswith("PSNR")]
    assert len(dev) == 4  # three sets, one of them by two protocols
    for score in dev:
        for page in (card, *pages):
            assert f"{score:.2f}" in page


def test_evaluate_finds_the_score_that_the_file_states(tmp_path):
    triples = bench_triples(tmp_path / "triples")
    command = ["--data", str(triples), "--model", DEFAULT_MODEL, "--protocol", "A", "--quiet", "--no-plots"]
    assert evaluate.main([*command, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))["overall"]
    stated = read_metadata(shipped_weights()[DEFAULT_MODEL]).scores
    assert found["psnr"] == pytest.approx(stated["shipped_scenes, protocol A, PSNR"], abs=0.01)


RIGHT = [
    ("sklearn_flower.jpg", (0.26, 0.18, 0.72, 0.86)),
    ("lomiri_seeding_by_Clements_Engelhardt.jpg", (0.14, 0.05, 0.46, 0.6)),
    ("skimage_chelsea.jpg", (0.1, 0.05, 0.9, 0.95)),
]


@pytest.mark.parametrize(("photo", "box"), RIGHT)
def test_what_is_right_already_stays_nearly_as_it_is(photo, box):
    picture, mask = disc(photo, box)
    plus, base = (harmonize(picture, mask, (), name) for name in (DEFAULT_MODEL, "statistics"))
    assert levels(plus, picture, mask) < 16
    assert levels(plus, picture, mask) < 0.65 * levels(base, picture, mask)


@pytest.mark.parametrize("gain", [0.5, 1.6])
def test_a_face_too_dark_or_too_light_comes_nearer_to_the_truth(gain):
    picture, mask = disc("skimage_chelsea.jpg", (0.1, 0.05, 0.9, 0.95))
    wrong = (picture.clamp_min(1e-4) ** 2.2 * gain).clamp(0, 1) ** (1 / 2.2)
    composite = picture + mask * (wrong - picture)
    result = harmonize(composite, mask)
    assert levels(result, picture, mask) < 0.6 * levels(composite, picture, mask)
    assert torch.equal(result[(mask == 0).expand_as(result)], composite[(mask == 0).expand_as(result)])


def test_it_takes_references_without_an_encoder():
    model = load_harmonizer(DEFAULT_MODEL)
    assert model.spec is None
    assert model.max_references == 0  # it reads none itself: the gate follows its answer
    assert model.gate is not None


def test_the_same_cat_elsewhere_is_believed_and_other_photos_hardly():
    truth, mask = disc("skimage_chelsea.jpg", (0.1, 0.05, 0.9, 0.95))
    composite = truth + mask * ((truth * torch.tensor([0.5, 0.6, 0.8]).view(1, 3, 1, 1)) - truth)
    encoder = build_encoder("lite0")
    query = make_query(composite, mask, encoder=encoder)

    def result(pictures: list[torch.Tensor], by: str, threshold: float | None) -> torch.Tensor:
        gallery = memory_gallery(pictures, encoder)
        found = search_many(gallery, [query], by=by, top_k=4, content_threshold=threshold)[0]
        assert found.items
        return harmonize(composite, mask, list(references(found)))

    alone = harmonize(composite, mask)
    crop = truth[..., 10:, 20:-40].flip(-1)  # the same cat in the same light, as in another frame
    own = result([crop], "both", None)
    assert levels(own, truth, mask) < 0.75 * levels(alone, truth, mask)
    others = [path for path in sorted(PHOTOS.iterdir()) if "chelsea" not in path.name]
    strange = [from_pil(Image.open(path).convert("RGB")) for path in others]
    assert levels(result(strange, "content", 0.05), alone, mask) < 0.3 * levels(own, alone, mask)


def test_the_sheet_of_hard_cases_shows_the_areas_it_names(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "workflows")
    sheet = importlib.import_module("tests.tools.make_hard_cases")
    named = {name: float(name.split(" %")[0]) / 100 for name in sheet.CASES if "%" in name}
    assert sorted(named.values()) == [0.03, 0.7]
    for name, area in named.items():
        assert float(sheet.pictures(sheet.CASES[name])[1].mean()) == pytest.approx(area, rel=0.1)


def test_the_steady_file_says_what_it_is_and_states_its_scores():
    path = shipped_weights()["raiha-plus-steady"]
    assert path.stat().st_size < 10e6
    about = read_metadata(path)
    assert json.loads(about.notes["experiment"])["name"] == "plus_small_data_steady"
    assert len(about.notes["revision"]) == 40
    assert "non-commercial" in about.licence
    card = (path.parent / "README.md").read_text(encoding="utf-8")
    for data in ("dev_iharmony4", "dev_daynight", "dev_real_masked"):
        assert f"{about.scores[f'{data}, protocol A, PSNR']:.2f}" in card


def test_the_steady_file_is_steadier_and_a_mirror_changes_nothing():
    bench = runpy.run_path(str(ROOT / "train" / "bench" / "steadiness.py"))
    picture, mask = disc("skimage_coffee.jpg", (0.2, 0.2, 0.6, 0.7))
    composite = picture + mask * (picture * 0.6 - picture)

    def scene(offset: int) -> tuple[torch.Tensor, torch.Tensor]:
        return composite.roll(offset, -1), mask.roll(offset, -1)

    nervous, steady = (
        bench["moves"](scene, load_harmonizer(name)) for name in (DEFAULT_MODEL, "raiha-plus-steady")
    )
    assert steady["mirror"] < 0.02
    assert steady["pixel"] + steady["noise"] < 0.6 * (nervous["pixel"] + nervous["noise"])
