"""ComfyUI's own page in a real browser: templates open and run, and the object is dragged.

Runs where COMFYUI_PATH names a checkout, COMFYUI_PYTHON its interpreter, and playwright and a chromium are
installed; RAIHA_SCREENSHOTS names a folder that receives what was seen.
"""

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.golden.make_node_ids import ROOT
from workflows.run import pack

CHECKOUT = os.environ.get("COMFYUI_PATH", "")
SHOTS = os.environ.get("RAIHA_SCREENSHOTS", "")
MISSING = [
    what
    for what, there in (
        ("a ComfyUI checkout (COMFYUI_PATH)", CHECKOUT),
        ("a chromium", shutil.which("chromium") or shutil.which("chromium-browser")),
        ("the package playwright", importlib.util.find_spec("playwright")),
    )
    if not there
]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"the page was not looked at: needs {', '.join(MISSING)}"
)
NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
FIRST = NAMES[0]
STAGE = "() => app.graph._nodes.find(n => n.type === 'Raiha_PasteObject')"
# inputs that need a wire and have none
LEFT_OVER = """() => app.graph._nodes.flatMap(n => n.inputs ?? []).filter(
  i => !i.link && !i.widget && i.shape !== 7 && i.type !== "IMAGECOMPARE").length"""
SHOWN = """() => app.graph._nodes.some(n => /Save/.test(n.type) &&
  (n.imgs?.length || n.widgets?.some(w => w.element?.querySelector?.("video"))))"""
WIDGETS = f"() => Object.fromEntries(({STAGE})().widgets.map(w => [w.name, w.value]))"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(ROOT / "tests" / "tools"))
    from export_workflows import Page

    checkout = pack("workflows.host_checkout").Checkout
    python = os.environ.get("COMFYUI_PYTHON")
    base = tmp_path_factory.mktemp("base")
    with (
        checkout(Path(CHECKOUT), pack_root=ROOT, base=base, python=python) as server,
        sync_playwright() as play,
    ):
        found = Page(play, server.url)
        found.base = base
        yield found
        found.browser.close()


def shoot(page, name):
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.shoot(Path(SHOTS) / f"{name}.png")


@pytest.mark.parametrize("name", NAMES)
def test_a_template_opens_without_red_nodes_and_runs_as_it_stands(page, name):
    page.load(ROOT / "workflows" / f"{name}.json")
    page.check(name)
    assert page.page.evaluate(LEFT_OVER) == 0
    page.run(timeout=300)
    page.check(f"{name} after a run")
    shown = page.page.evaluate(SHOWN)
    assert shown, "no saved picture stands on its node"
    shoot(page, f"ran_{name}")


def test_the_blueprint_is_offered_and_stands_for_paste_and_harmonize(page):
    offered = page.page.evaluate("async () => (await app.api.getGlobalSubgraphs())")
    (entry,) = (one for one in offered.values() if one["info"]["node_pack"].startswith("custom_nodes."))
    assert entry["name"] == "Paste and Harmonize (Raiha)"
    (path,) = (ROOT / "subgraphs").glob("*.json")
    page.load(path)
    page.check("blueprint")
    inner = "() => app.graph._nodes[0].subgraph._nodes.map(n => n.type).sort()"
    assert page.page.evaluate(inner) == ["Raiha_Harmonize", "Raiha_PasteObject"]
    slots = "side => app.graph._nodes[0][side].filter(s => !s.widget).map(s => s.name)"
    assert page.page.evaluate(slots, "inputs") == ["background", "object", "mask"]
    assert page.page.evaluate(slots, "outputs") == ["composite", "image"]
    shoot(page, "blueprint")


def stage_box(page):
    """The object in Paste Object: its middle on the screen, the page's own idea of it, and the zoom."""
    page.page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.page.wait_for_timeout(1200)
    frame = page.page.locator("canvas.raiha-stage").bounding_box()
    box = page.page.evaluate(f"() => ({STAGE})().raihaStage.box()")
    wide, high = page.page.evaluate(f"() => (c => [c.width, c.height])(({STAGE})().raihaStage.canvas)")
    zoom = min(frame["width"] / wide, frame["height"] / high)
    x = frame["x"] + frame["width"] / 2 + (box["x"] - wide / 2) * zoom
    y = frame["y"] + frame["height"] / 2 + (box["y"] - high / 2) * zoom
    return (x, y), box, zoom


def pull(page, start, end):
    mouse = page.page.mouse
    mouse.move(*start)
    mouse.down()
    mouse.move(*((a + b) / 2 for a, b in zip(start, end, strict=True)), steps=4)
    mouse.move(*end, steps=4)
    mouse.up()
    page.page.wait_for_timeout(300)


def test_five_steps_to_the_own_picture(page):
    page.load(ROOT / "workflows" / f"{FIRST}.json")  # 1. open the template, with its pictures in the loaders
    page.run()  # 2. run
    before = page.page.evaluate(WIDGETS)
    middle, box, zoom = stage_box(page)
    pull(page, middle, (middle[0] + 60 * zoom, middle[1] - 20 * zoom))  # 3. drag
    moved = page.page.evaluate(WIDGETS)
    assert moved["x"] - before["x"] == pytest.approx(60 / box["ratio"], abs=1.5)
    assert moved["y"] - before["y"] == pytest.approx(-20 / box["ratio"], abs=1.5)
    assert moved["scale"] == before["scale"]

    middle, box, zoom = stage_box(page)
    corner = middle[0] + box["halfWidth"] * zoom, middle[1] + box["halfHeight"] * zoom
    pull(page, corner, tuple(m + 0.8 * (c - m) for m, c in zip(middle, corner, strict=True)))
    scaled = page.page.evaluate(WIDGETS)
    assert scaled["scale"] == pytest.approx(0.8 * before["scale"], rel=0.03)

    middle, box, zoom = stage_box(page)
    handle = (box["halfHeight"] + 26) * zoom
    pull(page, (middle[0], middle[1] - handle), (middle[0] + handle * 0.5, middle[1] - handle * 0.866))
    assert page.page.evaluate(WIDGETS)["rotation"] == pytest.approx(30, abs=1.5)

    page.run()  # 4. run again
    page.check("after the second run")
    shoot(page, "five_steps")
    saved = (page.base / "output" / "raiha").glob("harmonized*.png")  # 5. the picture
    newest = max(saved, key=lambda path: path.stat().st_mtime_ns)
    prompt = json.loads(Image.open(newest).text["prompt"])
    (pasted,) = (n["inputs"] for n in prompt.values() if n["class_type"] == "Raiha_PasteObject")
    assert pasted["rotation"] == pytest.approx(30, abs=1.5)
    shown = page.page.evaluate(
        "() => app.graph._nodes.find(n => n.type === 'Raiha_SavePicture').imgs?.length"
    )
    assert shown == 1

    # dragged back onto the page it restores its graph
    page.page.evaluate("async () => { await app.loadGraphData({nodes: [], links: [], version: 0.4}); }")
    data = list(newest.read_bytes())
    drop = "async d => { await app.handleFile(new File([new Uint8Array(d)], 'a.png', {type: 'image/png'})) }"
    page.page.evaluate(drop, data)
    page.page.wait_for_timeout(1500)
    assert page.page.evaluate(WIDGETS)["rotation"] == pytest.approx(30, abs=1.5)
    page.check("restored")


def test_compare_fills_the_hosts_slider_and_runs_once(page):
    page.load(ROOT / "workflows" / "harmonize.json")
    page.run()
    find = "app.graph._nodes.find(n => n.type === 'Raiha_Compare')"
    shown = page.page.evaluate(f"() => {find}.widgets.find(w => w.name === 'compare_view').value")
    assert [len(shown[side]) for side in ("beforeImages", "afterImages")] == [1, 1]
    prompt = page.page.evaluate("async () => (await app.graphToPrompt()).output")
    (inputs,) = (n["inputs"] for n in prompt.values() if n["class_type"] == "Raiha_Compare")
    assert inputs.get("compare_view", "") == ""
    page.check("compare")
