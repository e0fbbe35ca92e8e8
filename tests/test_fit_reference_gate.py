"""fit_reference_gate.py from photos to a weight file: what is gathered stays, no shoot's photo teaches."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from raiha_core import checkpoint
from raiha_core.features.references import Match
from raiha_core.gallery.build import build
from raiha_core.gallery.store import open_gallery
from raiha_train.data.photos import in_validation, read_photos
from raiha_train.evaluation.listed_references import ListedReferences
from raiha_train.weights import fit_reference_gate, gate_fit, reference_kinds
from raiha_train.weights.reference_kinds import HELD_OUT_SHARE
from tests.gallery_fakes import FakeEncoder
from tests.network_cases import small
from tests.test_make_real_masked import folders  # noqa: F401  a fixture
from tests.tiny_iharmony4 import photo, save


@pytest.fixture
def place(folders, tmp_path, monkeypatch):  # noqa: F811
    """Photos with masks, two of them of one shoot, a gallery of them all, and the call's arguments."""
    photos, lights = folders
    rows = [json.loads(line) for line in (photos / "manifest.jsonl").read_text().splitlines()]
    for n in range(3, 16):
        save(photos / f"images/p{n}.jpg", photo(n, (40, 30)))
        rows.append({"image": f"images/p{n}.jpg", "mask": rows[n % 3]["mask"]})
    rows[3]["sequence"] = rows[4]["sequence"] = "walk"
    (photos / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (lights / "train_list.txt").write_text((lights / "test_list.txt").read_text())
    build(photos / "images", tmp_path / "store", encoder=FakeEncoder())
    monkeypatch.setattr(fit_reference_gate, "build_encoder", lambda name: FakeEncoder())
    call = ["--photos", str(photos), "--store", str(tmp_path / "store"), "--illuminants", str(lights)]
    return [*call, "--evidence", str(tmp_path / "evidence"), "--objects", "6", "--judged", "1"]


def test_evidence_is_gathered_once_and_another_call_ends_in_a_gated_file(
    place, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(gate_fit, "STEPS", 30)
    monkeypatch.setattr(reference_kinds, "ORDINARY", {"gallery 100": 5, "gallery 400": 12})
    threads = torch.get_num_threads()
    assert fit_reference_gate.main(place) == 0
    folder = tmp_path / "evidence"
    kept = [load_file(path) for path in folder.glob("*.safetensors")]
    assert len(kept) == 6
    for kind in ("gallery 100", "relit best", "other crop"):
        assert any(f"{kind}.object_pairs" in item for item in kept)
    network = small("raiha-plus", references="gated", local_map=False).eval()
    checkpoint.save(tmp_path / "w.safetensors", network, checkpoint.describe(network, "raiha-plus"))
    out = tmp_path / "gated.safetensors"
    call = ["--evidence", str(folder), "--weights", str(tmp_path / "w.safetensors"), "--out", str(out)]
    assert fit_reference_gate.main(call) == 0
    torch.set_num_threads(threads)
    page = capsys.readouterr().out
    assert "| other crop |" in page
    assert "network's error x 0.25" in page
    gated = checkpoint.load(out)
    assert gated.config.references == "gated"
    assert gated.gate.gate.to_belief.weight.abs().max() > 0
    assert gated.gate.gate.usual_error > 5
    assert gated.metadata.notes["reference gate"].startswith("6 objects, seed 1")


def test_no_object_or_shoot_that_is_judged_by_teaches(place, tmp_path):
    rows = read_photos(tmp_path / "photos")
    held = [row for row in rows if in_validation(row, HELD_OUT_SHARE)]
    assert held
    taught = fit_reference_gate.teaching(rows, len(held), 100)
    alone = {row.id for row in rows if row not in held and not row.group}
    shoots = {row.id for row in taught} - alone
    assert alone <= {row.id for row in taught}
    assert shoots <= {row.id for row in rows if reference_kinds.shoot_teaches(row)}
    first = fit_reference_gate.teaching(rows, 0, 100)
    assert first[: len(held)] == [row for row in first if row in held]
    single = [replace(row, group="") for row in rows]
    assert len(fit_reference_gate.teaching(single, 0, 3)) == 3


def test_half_of_the_shoots_teach_and_only_those_of_several_photos(place, tmp_path):
    row = read_photos(tmp_path / "photos")[0]
    shoots = [
        replace(row, id=f"{n}-{k}", group=f"shoot {n}", image=row.image.with_name(f"{n}-{k}.jpg"))
        for n in range(200)
        for k in range(2)
    ]
    taught = {one.group for one in fit_reference_gate.teaching(shoots, 0, 0)}
    assert 60 < len(taught) < 140
    assert taught == {one.group for one in shoots if reference_kinds.shoot_teaches(one)}
    assert not fit_reference_gate.teaching(shoots[::2], 0, 0)


def test_a_network_that_reads_more_pixels_than_the_evidence_is_refused(tmp_path):
    network = small(
        "raiha-plus", references="gated", size=2 * fit_reference_gate.ANSWER_SIDE, local_map=False
    ).eval()
    about = checkpoint.describe(network, "raiha-plus", data="toys", licence="none")
    checkpoint.save(tmp_path / "large.safetensors", network, about)
    with pytest.raises(ValueError, match=r"large.safetensors reads 768 px, the evidence is kept at 384"):
        fit_reference_gate.can_have_a_gate(tmp_path / "large.safetensors")


def test_evidence_that_was_gathered_otherwise_is_not_used(place, capsys):
    assert fit_reference_gate.main(place) == 0
    assert fit_reference_gate.main([*place, "--seed", "2"]) == 1
    assert "was gathered otherwise: seed: 1 != 2" in capsys.readouterr().err


def test_what_is_missing_is_named(place, tmp_path, capsys):
    wrong = tmp_path / "wrong.safetensors"
    network = small("hdnet").eval()
    checkpoint.save(wrong, network, checkpoint.describe(network, "hdnet"))
    assert fit_reference_gate.main([*place, "--weights", str(wrong)]) == 1
    assert "holds the preset 'hdnet', but 'raiha-plus' was asked for" in capsys.readouterr().err
    learned = small("raiha-plus").eval()
    checkpoint.save(wrong, learned, checkpoint.describe(learned, "raiha-plus"))
    assert fit_reference_gate.main([*place, "--weights", str(wrong)]) == 1
    assert "wrong.safetensors learns its references by itself" in capsys.readouterr().err
    assert not (tmp_path / "evidence").exists()  # nothing was gathered before the weights were looked at
    with pytest.raises(SystemExit):
        fit_reference_gate.main([*place, "--out", "x.safetensors"])
    assert "--out needs --weights" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        fit_reference_gate.main(["--evidence", str(tmp_path)])
    assert "name --photos to gather evidence, or --weights" in capsys.readouterr().err
    (tmp_path / "photos" / "manifest.jsonl").write_text("no json\n")
    assert fit_reference_gate.main(place) == 1
    assert "manifest.jsonl, line 1" in capsys.readouterr().err


def test_a_shoots_references_come_best_first_and_no_more_than_asked(place, tmp_path, monkeypatch):
    rows = read_photos(tmp_path / "photos")
    listed = ListedReferences(tmp_path / "photos" / "images", FakeEncoder())
    gallery = open_gallery(tmp_path / "store", photos=None)
    galleries = reference_kinds.ReferencesOfKinds(gallery, rows, listed)
    thing = reference_kinds.RecolouredObject(
        rows[3], torch.rand(1, 3, 30, 40), torch.ones(1, 1, 30, 40), torch.rand(1, 3, 30, 40),
        listed.encode(torch.rand(1, 3, 30, 40)),
    )  # fmt: skip
    monkeypatch.setattr(galleries, "mates", lambda row: ["p1.jpg", "p2.jpg", "p5.jpg", "p6.jpg", "p7.jpg"])
    four = galleries.of("own four", thing, 0)
    weights = [reference.score for reference in four]
    assert len(four) == 4
    assert weights == sorted(weights, reverse=True)
    (one,) = galleries.of("own shoot", thing, 0)
    assert one.id == four[0].id
    assert np.isfinite(weights).all()
    assert all(isinstance(m, Match) for r in four for m in r.content_matches)


def test_poor_references_are_poor_and_the_same_each_time(place, tmp_path, monkeypatch):
    rows = read_photos(tmp_path / "photos")
    listed = ListedReferences(tmp_path / "photos" / "images", FakeEncoder())
    gallery = open_gallery(tmp_path / "store", photos=None)
    lights = torch.zeros(2, 2, 3, 11)
    lights[:, :, range(3), range(3)] = 1.0
    lights[1, :, 0, 0] = 0.6
    galleries = reference_kinds.ReferencesOfKinds(gallery, rows, listed, lights)
    composite = torch.rand(1, 3, 30, 40, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 1, 30, 40)
    mask[..., 10:20, 10:30] = 1
    thing = reference_kinds.RecolouredObject(rows[3], composite, mask, composite, listed.encode(composite))
    monkeypatch.setattr(galleries, "mates", lambda row: ["p1.jpg", "p2.jpg", "p5.jpg"])
    (best,) = galleries.of("own shoot", thing, 0)
    relit = [galleries.of("own other light", thing, seed)[0].image for seed in (0, 0, 1, 2)]
    assert torch.equal(relit[0], relit[1])
    assert all(picture.shape == best.image.shape for picture in relit)
    assert any(not torch.equal(picture, best.image) for picture in relit)
    assert [r.id for r in galleries.of("own random", thing, 5)] == [
        r.id for r in galleries.of("own random", thing, 5)
    ]
    monkeypatch.setattr(galleries, "mates", lambda row: [])
    assert galleries.of("own random", thing, 0) == galleries.of("own other light", thing, 0) == []
    good = {reference.id for reference in galleries.of("by content", thing, 0)}
    poor = galleries.of("nothing suitable", thing, 0)
    assert good
    assert poor
    assert not good & {reference.id for reference in poor}
