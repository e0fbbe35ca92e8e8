"""The workflows that ship, and the headless runner: results, exit codes, three ways to the same pixels."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workflows import run
from workflows.run import ROOT, main, pack

WORKFLOWS = ROOT / "workflows"
NAMES = [
    "01_paste_and_harmonize",
    "compare_harmonizers",
    "explain_retrieval",
    "harmonize",
    "harmonize_a_clip",
    "harmonize_with_gallery",
    "picture_as_reference",
    "repainted_region",
]
EMBEDDED = [name for name in NAMES if name != "compare_harmonizers"]  # that holds a node of ComfyUI's alone
BEFORE = ROOT / "tests" / "golden" / "workflows_before"  # the templates of the first release
CHECKOUT = os.environ.get("COMFYUI_PATH", "")
needs_comfyui = pytest.mark.skipif(
    not CHECKOUT, reason="needs a ComfyUI checkout: set COMFYUI_PATH, and COMFYUI_PYTHON to its interpreter"
)


def api(name):
    return WORKFLOWS / "api" / f"{name}.json"


@pytest.fixture(autouse=True)
def _signals():
    """`main` takes over SIGTERM."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return pack("workflows.host").Host(tmp_path_factory.mktemp("workflows"))


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


# ---- the files


def test_each_workflow_has_its_three_files_and_nothing_is_left_over():
    assert sorted(path.stem for path in WORKFLOWS.glob("*.json")) == NAMES
    assert sorted(path.stem for path in WORKFLOWS.glob("*.jpg")) == NAMES
    assert sorted(path.stem for path in (WORKFLOWS / "api").iterdir()) == NAMES
    for name in NAMES:
        width, height = Image.open(WORKFLOWS / f"{name}.jpg").size
        assert abs(width / height - 1.5) < 0.05


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_api_form_passes_the_hosts_checks(host, name):
    prompt = json.loads(api(name).read_text(encoding="utf-8"))
    assert set(host.check(prompt)) == set(prompt)


@pytest.mark.parametrize("path", sorted(BEFORE.glob("*.json")), ids=lambda path: path.stem)
def test_the_templates_of_before_still_pass(host, path):
    prompt = json.loads(path.read_text(encoding="utf-8"))
    assert set(host.check(prompt)) == set(prompt)


def test_an_old_template_gives_the_picture_of_the_new_one(tmp_path):
    for folder in (BEFORE, WORKFLOWS / "api"):
        assert main([str(folder / "harmonize.json"), "--out", str(tmp_path / folder.name)]) == 0
    old, new = (tmp_path / name / "raiha/harmonized_00001_.png" for name in (BEFORE.name, "api"))
    assert (pixels(old) == pixels(new)).all()


def test_templates_are_small():
    for name in set(NAMES) - {"explain_retrieval"}:
        assert len(json.loads(api(name).read_text(encoding="utf-8"))) <= 8


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_hold_the_same_graph(host, name):
    page = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    prompt = json.loads(api(name).read_text(encoding="utf-8"))
    nodes = {str(node["id"]): node for node in page["nodes"] if node["type"] != "MarkdownNote"}
    assert {i: node["type"] for i, node in nodes.items()} == {i: n["class_type"] for i, n in prompt.items()}
    links = {link[0]: [str(link[1]), link[2]] for link in page["links"]}
    for node_id, node in nodes.items():
        assert "title" not in node  # it would hide the translated name
        for entry in node["inputs"]:
            if entry.get("link") is not None:
                assert prompt[node_id]["inputs"][entry["name"]] == links[entry["link"]]


@pytest.mark.parametrize("name", NAMES)
def test_widgets_stand_where_the_schema_has_them(host, name):
    # The page stores widget values by position: a new widget in the middle would shift them.
    page = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    prompt = json.loads(api(name).read_text(encoding="utf-8"))
    for node in page["nodes"]:
        if not node["type"].startswith("Raiha_"):
            continue
        with host.session():
            schema = host.nodes[node["type"]].define_schema()
        given = prompt[str(node["id"])]["inputs"]
        expected = []
        for entry in (entry for entry in schema.inputs if hasattr(entry, "default")):
            if entry.id not in given:
                break  # a widget that came after this page was saved: the page takes its default
            expected.append(given[entry.id])
        if any(getattr(entry, "upload", None) is not None for entry in schema.inputs):
            expected.append("image")  # the page's own button; it stands behind all widgets
        assert node.get("widgets_values", []) == expected, node["type"]


# ---- run.py


def test_a_subprocess_from_anywhere_leaves_a_picture(tmp_path):
    command = [sys.executable, str(WORKFLOWS / "run.py"), str(api("harmonize")), "--out", "out", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["runner"] == "embedded"
    assert report["files"] == [str(Path("out", "raiha", "harmonized_00001_.png"))]
    before, after = pixels(ROOT / "assets/demo/truck.png"), pixels(tmp_path / report["files"][0])
    inside = pixels(ROOT / "assets/demo/truck_mask.png")[..., 0] > 0
    assert (before[~inside] == after[~inside]).all()
    assert np.abs(before[inside].astype(int) - after[inside]).mean() > 1


def test_set_changes_inputs_by_id_title_and_class_and_uploads_pictures(tmp_path):
    composite = tmp_path / "my picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(composite)
    mask = np.zeros((40, 60), np.uint8)
    mask[5:20, 5:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    settings = [
        f"1.image={composite}",
        f"Raiha_LoadMask.image={tmp_path / 'mask.png'}",
        "Harmonize (Raiha).strength=0",
        "5.filename_prefix=x",
    ]
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert main([str(api("harmonize")), *arguments, "--out", str(tmp_path / "out")]) == 0
    assert (pixels(tmp_path / "out" / "x_00001_.png") == pixels(composite)).all()  # strength 0: unchanged


def test_texts_are_printed(tmp_path, capsys):
    settings = ["--set", "Raiha_BuildGallery.photos=input: photos"]
    folder = tmp_path / "base" / "input" / "photos"
    folder.mkdir(parents=True)
    for name in ("skimage_coffee", "palapeli_citrus-fruits"):
        photo = Image.open(ROOT / "assets" / "scenes" / "photos" / f"{name}.jpg")
        photo.resize((120, 80)).save(folder / f"{name}.png")
    out = str(tmp_path / "out")
    call = [str(api("explain_retrieval")), *settings, "--base", str(tmp_path / "base"), "--out", out]
    assert main(call) == 0
    printed = capsys.readouterr().out
    assert "photos that qualify" in printed
    assert "references_00001_.png" in printed
    assert Image.open(tmp_path / "out" / "raiha" / "references_00001_.png").width > 600
    assert (tmp_path / "base" / "user" / "raiha" / "galleries" / "examples").is_dir()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "99.image=x"], "--set 99: the workflow has no such node; it has 1 (Raiha_LoadPicture)"),
        (
            ["--set", "4.strenght=1"],
            "--set 4.strenght: Raiha_Harmonize has composite, mask, harmonizer, strength",
        ),
        (["--set", "4.strength=much"], "--set 4.strength=much: a number is needed"),
        (["--set", "strength"], "write NODE.INPUT=VALUE"),
        (["--embedded", "--server", "http://x"], "not allowed with argument"),
    ],
)
def test_wrong_calls_exit_with_2(tmp_path, capsys, arguments, sentence):
    with pytest.raises(SystemExit) as caught:
        main([str(api("harmonize")), "--out", str(tmp_path), *arguments])
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def broken(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("make", "arguments", "sentence"),
    [
        (lambda tmp: tmp / "no.json", [], "No such file or directory"),
        (lambda tmp: broken(tmp, "{"), [], "broken.json is not a workflow"),
        (lambda tmp: broken(tmp, "[1]"), [], "not a workflow in API format"),
        (lambda tmp: broken(tmp, '{"1": {"inputs": 3}}'), [], "'inputs' of node 1 is not an object"),
        (lambda tmp: broken(tmp, '{"1": {"class_type": "X"}}'), [], "'X' is not known to the embedded host"),
        (lambda tmp: WORKFLOWS / "harmonize.json", [], "page's format"),
        (lambda tmp: api("harmonize"), ["--set", "1.image=gone.png"], "there is no picture 'gone.png'"),
        (
            lambda tmp: api("harmonize"),
            ["--set", "4.strength=7"],
            "node 4 (Raiha_Harmonize): Value 7.0 bigger",
        ),
        (
            lambda tmp: api("harmonize"),
            ["--server", "127.0.0.1:9"],
            "no ComfyUI answers at http://127.0.0.1:9",
        ),
        (lambda tmp: api("harmonize"), ["--comfyui", "/no/such"], "such is not a ComfyUI checkout"),
    ],
)
def test_failures_exit_with_1_and_one_sentence(tmp_path, capsys, make, arguments, sentence):
    assert main([str(make(tmp_path)), "--out", str(tmp_path / "out"), *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


def test_comfyui_without_a_path_asks_for_one(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    assert main([str(api("harmonize")), "--out", str(tmp_path), "--comfyui"]) == 1
    assert "COMFYUI_PATH" in capsys.readouterr().err


def test_a_page_workflow_names_its_api_form(tmp_path, capsys):
    main([str(WORKFLOWS / "harmonize.json"), "--out", str(tmp_path)])
    assert str(api("harmonize")) in capsys.readouterr().err


def test_fingerprints_that_a_picture_carried_are_dropped(tmp_path):
    prompts = pack("workflows.host_prompt")
    path = broken(tmp_path, '{"1": {"class_type": "X", "inputs": {}, "is_changed": ["abc"]}}')
    assert prompts.read_prompt(path) == {"1": {"class_type": "X", "inputs": {}}}


def test_an_output_that_leaves_the_folder_is_not_written(tmp_path):
    prompts = pack("workflows.host_results")
    entry = {"filename": "x.png", "subfolder": "../..", "type": "output"}
    with pytest.raises(ValueError, match="would lie outside"):
        prompts.save_outputs({"1": {"images": [entry]}}, None, tmp_path / "out")


def test_an_upload_keeps_other_bytes_under_the_same_name(tmp_path):
    embedded = pack("workflows.host_embedded")
    first, second = tmp_path / "a" / "p.png", tmp_path / "b" / "p.png"
    for number, path in enumerate((first, second)):
        path.parent.mkdir()
        path.write_bytes(bytes([number]))
    with embedded.Embedded(tmp_path / "base") as runner:
        assert runner.upload(first) == "p.png"
        assert runner.upload(second) == "p (1).png"
        assert runner.upload(first) == "p.png"


def test_help_shows_an_example(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "example: python workflows/run.py workflows/api/harmonize.json" in capsys.readouterr().out


# ---- three ways, the same pixels


@pytest.fixture(scope="module")
def core_workflow(tmp_path_factory):
    """ComfyUI's own loader and mask nodes before our harmonizer, with inputs to upload."""
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(5)
    Image.fromarray(rng.integers(40, 220, (90, 120, 3), dtype=np.uint8)).save(folder / "scene.png")
    cutout = rng.integers(0, 256, (50, 60, 4), dtype=np.uint8)
    cutout[..., 3] = 0
    cutout[8:40, 10:50, 3] = 255
    Image.fromarray(cutout).save(folder / "cutout.png")

    def node(kind, **inputs):
        return {"class_type": kind, "inputs": inputs}

    paste = {"x": 30, "y": 20, "resize_source": False, "mask": ["3", 0]}
    prompt = {
        "1": node("LoadImage", image="scene.png"),
        "2": node("LoadImage", image="cutout.png"),
        "3": node("InvertMask", mask=["2", 1]),
        "4": node("ImageCompositeMasked", destination=["1", 0], source=["2", 0], **paste),
        "5": node("SolidMask", value=0.0, width=120, height=90),
        "6": node("MaskToImage", mask=["5", 0]),
        "7": node("MaskToImage", mask=["3", 0]),
        "8": node("ImageCompositeMasked", destination=["6", 0], source=["7", 0], **paste),
        "9": node("ImageToMask", image=["8", 0], channel="red"),
        "10": node("GrowMask", mask=["9", 0], expand=-1, tapered_corners=True),
        "11": node("Raiha_LoadHarmonizer", harmonizer="statistics"),
        "12": node("Raiha_Harmonize", composite=["4", 0], mask=["10", 0], harmonizer=["11", 0], strength=0.8),
        "13": node("SaveImage", images=["12", 0], filename_prefix="core"),
    }
    path = folder / "core.json"
    path.write_text(json.dumps(prompt), encoding="utf-8")
    return path


def core_settings(path):
    return [
        part for n, name in (("1", "scene"), ("2", "cutout"))
        for part in ("--set", f"{n}.image={path.parent / name}.png")
    ]  # fmt: skip


def test_the_core_workflow_runs_embedded(core_workflow, tmp_path):
    assert main([str(core_workflow), *core_settings(core_workflow), "--out", str(tmp_path)]) == 0
    assert pixels(tmp_path / "core_00001_.png").shape == (90, 120, 3)


@needs_comfyui
def test_three_runners_give_the_same_pixels(core_workflow, tmp_path):
    jobs = [(api(name), []) for name in EMBEDDED] + [(core_workflow, core_settings(core_workflow))]
    checkout = pack("workflows.host_checkout").Checkout

    def results(where):
        found = {}
        for path, settings in jobs:
            out = tmp_path / where[0].strip("-") / path.stem
            assert main([str(path), *settings, "--out", str(out), *where]) == 0
            (file,) = out.rglob("*.png")  # a server that goes on counts its files on
            found[path.stem] = pixels(file)
        return found

    embedded = results(["--embedded"])
    started = results(["--comfyui", CHECKOUT])
    with checkout(Path(CHECKOUT), pack_root=run.ROOT, base=tmp_path / "base", python=None) as server:
        served = results(["--server", server.url])
    for name, expected in embedded.items():
        assert (started[name] == expected).all(), name
        assert (served[name] == expected).all(), name


@needs_comfyui
def test_the_pack_loads_in_comfyui_without_a_word_of_complaint(tmp_path):
    (tmp_path / "custom_nodes").mkdir()
    (tmp_path / "custom_nodes" / "a pack").symlink_to(ROOT, target_is_directory=True)
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    command = [python, "main.py", "--cpu", "--quick-test-for-ci", "--base-directory", str(tmp_path)]
    command += ["--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-2000:]
    (line,) = [line for line in log.splitlines() if line.rstrip().endswith("a pack")]
    assert "FAILED" not in line
    assert "Error while calling comfy_entrypoint" not in log
    assert "raiha" not in log.lower()
