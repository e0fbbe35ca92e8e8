"""Large and damaged files meet one rule on the command line, in Python and on the nodes; nothing is silent.

Oracle: files that are whole, and of a known number of pixels.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raiha_core.cli import gallery as gallery_command
from raiha_core.cli import tools as tools_command
from raiha_core.cli.main import main
from raiha_core.gallery.build import add, build
from raiha_core.gallery.store import open_gallery
from tests.gallery_fakes import FakeEncoder, fake_spec, write_photo
from tests.node_cases import ENCODER, Host, node, pack

SIZE = (40, 50)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Five photos, of which two are damaged and one has more pixels than the others."""
    folder = tmp_path / "photos"
    for seed in range(2):
        write_photo(folder / f"whole{seed}.png", seed=seed, size=SIZE)
    write_photo(folder / "large.png", seed=3, size=(80, 90))
    for seed, name in ((5, "cut.png"), (6, "broken.jpg")):
        write_photo(folder / name, seed=seed, size=SIZE)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) * 2 // 3])
    (folder / "sub").mkdir()
    for name in ("list.txt", "sub/a.PSD", "sub/b.psd"):
        (folder / name).write_bytes(b"8BPS")
    return folder


@pytest.fixture
def encoder(monkeypatch):
    fake = FakeEncoder(fake_spec(encoder="lite0"))
    for module in (gallery_command, tools_command):
        monkeypatch.setattr(module, "build_encoder", lambda name, **_: fake)
    return fake


def ids(store: Path) -> set[str]:
    return {photo.id for photo in open_gallery(store).photos}


ALL = {"whole0.png", "whole1.png", "large.png", "cut.png", "broken.jpg"}
DAMAGED = {"cut.png", "broken.jpg"}


@pytest.mark.parametrize("command", ["build", "add"])
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ((), ALL - DAMAGED),
        (("--max-pixels", "7199"), ALL - DAMAGED - {"large.png"}),
        (("--max-pixels", "7200"), ALL - DAMAGED),
        (("--allow-damaged",), ALL),
        (("--allow-damaged", "--max-pixels", "7199"), ALL - {"large.png"}),
    ],
)
def test_gallery_commands_take_what_they_are_told_to(
    photos, tmp_path, encoder, capsys, command, options, kept
):
    assert main(["gallery", command, str(photos), str(tmp_path / "store"), "--json", *options]) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert ids(tmp_path / "store") == kept
    assert {file["id"] for file in report["bad"]} == ALL - kept
    assert "3 files were passed over: 2 .psd, 1 .txt" in report["notes"]
    assert "raiha: note: 3 files were passed over: 2 .psd, 1 .txt" in printed.err
    taken = {name for name in DAMAGED for note in report["notes"] if note.startswith(f"{name} is ")}
    assert taken == DAMAGED & kept


@pytest.mark.parametrize("work", [build, add])
def test_python_takes_the_same_and_reads_such_a_photo_again(photos, tmp_path, encoder, work):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the report tells it
        report = work(photos, tmp_path / "store", encoder=encoder, max_pixels=7200, allow_damaged=True)
    assert {note.split()[0] for note in report.notes} == {"3", *DAMAGED}
    gallery = open_gallery(tmp_path / "store")
    for row, photo in enumerate(gallery.photos):
        if photo.id in DAMAGED:
            with pytest.warns(UserWarning, match="what is left of it was read"):
                assert gallery.load(row).shape == (1, 3, *SIZE)
        else:
            assert gallery.load(row).shape[:2] == (1, 3)
    small = open_gallery(tmp_path / "store", max_pixels=7199)
    large = [photo.id for photo in small.photos].index("large.png")
    with pytest.raises(ValueError, match=r"large\.png is 90x80"):
        small.load(large)


def test_a_folder_of_nothing_that_is_read_names_what_it_holds(tmp_path, encoder):
    for name in ("a.psd", "b.psd", "c.cr3"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds no photos \(3 files were passed over: 1 \.cr3, 2 \.psd\)"):
        build(tmp_path, tmp_path.parent / "store", encoder=encoder)


def test_references_of_harmonize_are_read_by_the_same_rule(photos, tmp_path, encoder, capsys):
    mask = np.zeros(SIZE, np.uint8)
    mask[10:25, 12:30] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    call = [
        "harmonize",
        str(photos / "whole0.png"),
        "--mask",
        str(tmp_path / "m.png"),
        "--model",
        "statistics",
    ]
    call += ["-o", str(tmp_path / "o.png"), "--references"]
    for name in sorted(DAMAGED):
        assert main([*call, str(photos / name)]) == 1
        said = capsys.readouterr().err
        assert name in said
        assert "(--allow-damaged reads what is left of it)" in said
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # the command prints it
            assert main([*call, str(photos / name), "--allow-damaged"]) == 0
        assert f"{name} is " in capsys.readouterr().err
    assert main([*call, str(photos / "large.png"), "--max-pixels", "7199"]) == 1
    assert "large.png is 90x80" in capsys.readouterr().err


@pytest.fixture
def host(photos, tmp_path):
    host = Host(tmp_path / "base")
    photos.rename(host.folder("input") / "photos")
    for name in ("cut.png", "broken.jpg", "large.png"):
        source = host.folder("input") / "photos" / name
        (host.folder("input") / name).write_bytes(source.read_bytes())
    return host


@pytest.mark.parametrize("kind", ["Raiha_LoadPicture", "Raiha_LoadMask"])
@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_loaders_name_their_widget_and_say_what_they_read(host, kind, name):
    pixels = np.full(SIZE, 30, np.uint8)
    pixels[10:30, 10:30] = 220
    noisy = pixels + np.random.default_rng(0).integers(0, 20, SIZE, dtype=np.uint8)  # so that it can be cut
    Image.fromarray(noisy).save(host.folder("input") / name)
    data = (host.folder("input") / name).read_bytes()
    (host.folder("input") / name).write_bytes(data[: len(data) * 3 // 4])
    show = node("PreviewImage", images=["2" if kind == "Raiha_LoadMask" else "1", 0])
    prompt = {"1": node(kind, image=name), "3": show}
    if kind == "Raiha_LoadMask":
        prompt["2"] = node("MaskToImage", mask=["1", 0])
    with pytest.raises(ValueError, match=r"\(allow_damaged reads what is left of it\)") as refused:
        host.run(prompt)
    assert "--" not in str(refused.value)
    prompt["1"]["inputs"]["allow_damaged"] = True
    said = host.run(prompt).outputs["1"]["text"][0]
    assert said.startswith(f"{name} is ")
    assert said.endswith("what is left of it was read")


@pytest.mark.parametrize(("most", "fits"), [(7200, True), (7199, False)])
def test_the_nodes_limit_is_the_commands(host, most, fits):
    with host.session():
        load = host.nodes["Raiha_LoadPicture"].execute
        if fits:
            assert load(image="large.png", max_pixels=most).args[0].shape == (1, 80, 90, 3)
        else:
            with pytest.raises(ValueError, match=r"large\.png is 90x80"):
                load(image="large.png", max_pixels=most)


@pytest.mark.parametrize(
    ("widgets", "kept"),
    [({}, 3), ({"allow_damaged": True}, 5), ({"allow_damaged": True, "max_pixels": 7199}, 4)],
)
def test_build_gallery_reports_what_it_passed_over_and_took(host, widgets, kept):
    prompt = {
        **ENCODER,
        "4": node("Raiha_BuildGallery", encoder=["3", 0], photos="input: photos", name="g", **widgets),
        "5": node("PreviewAny", source=["4", 1]),
    }
    report = host.run(prompt).outputs["5"]["text"][0]
    assert report.startswith(f"{kept} photos ({kept} added)")
    assert "3 files were passed over: 2 .psd, 1 .txt" in report
    assert ("cut.png is " in report) == (kept > 3)
    assert report.count("skipped ") == 5 - kept
    with host.session():
        stored = pack("raiha_core.gallery.store").open_gallery(
            host.folder("user") / "raiha" / "galleries" / "g"
        )
    assert len(stored) == kept


def test_of_an_animated_mask_the_first_frame_is_said(tmp_path):
    from raiha_core.mask_files import read_mask_file

    frames = [Image.new("L", SIZE[::-1]) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.paste(255, (5 + 4 * number, 5, 30, 20))
    expected = torch.from_numpy(np.asarray(frames[0]) / 255).float()
    for name, options in (("a.gif", {}), ("a.png", {}), ("a.webp", {"lossless": True})):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        found = read_mask_file(tmp_path / name)
        assert torch.equal(found.values[0, 0], expected)
        assert any(f"{name}: it " in note and "first" in note for note in found.notes), found.notes
