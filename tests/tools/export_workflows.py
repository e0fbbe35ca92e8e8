"""Makes workflows/*.json, workflows/api/*.json, workflows/*.jpg and subgraphs/*.json with ComfyUI's own page.

    python tests/tools/export_workflows.py --comfyui PATH [--shots DIR]

Only the page turns a graph into both formats reliably. Each graph is loaded, checked for unknown nodes,
run, photographed, loaded again from the file just written and checked again. Needs a ComfyUI checkout,
the PyPI package playwright and a chromium; nothing at run time needs this file.
"""

import argparse
import io
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tools")]

from graphs import BLUEPRINT, BLUEPRINT_WIDGETS, GRAPHS, Graph  # noqa: E402

from workflows.run import pack  # noqa: E402

THUMBNAIL = (600, 400)
PAPER = (247, 246, 243)
_READY = "() => window.app?.graph && Object.keys(LiteGraph.registered_node_types).length > 100"
_BUILD = """async ([api, places, note, noteAt]) => {
  await app.loadApiJson(api, "raiha.json");
  for (const node of app.graph._nodes) {
    node.pos = places[node.id];
    node.size = node.computeSize().map((least, i) => Math.max(least, [300, 60][i]));
  }
  const text = LiteGraph.createNode("MarkdownNote");
  text.pos = noteAt;
  text.size = [340, 200];
  app.graph.add(text);
  text.widgets[0].value = note;
}"""
_EXPORT = """async () => {
  const graph = app.graph.serialize();
  graph.extra = {};
  for (const node of graph.nodes) delete node.title;
  return [graph, (await app.graphToPrompt()).output];
}"""
_BLUEPRINT = """async ([title, widgets]) => {
  const graph = app.graph;
  const inner = ["3", "4"].map(id => graph.getNodeById(id) ?? graph.getNodeById(Number(id)));
  for (const [name, value] of [["x", 0], ["y", 0], ["scale", 1], ["anchor", "centre"]])
    inner[0].widgets.find(w => w.name === name).value = value;
  const {node, subgraph} = graph.convertToSubgraph(new Set(inner));
  subgraph.name = title;
  node.title = title;
  node.properties.proxyWidgets = widgets;
  const data = graph.serialize();
  const shown = data.nodes.find(n => n.type === subgraph.id);
  for (const slot of shown.inputs ?? []) slot.link = null;
  for (const slot of shown.outputs ?? []) slot.links = null;
  Object.assign(shown, {pos: [0, 0], title});
  shown.properties.proxyWidgets = widgets;
  const {revision, last_node_id, last_link_id, version, definitions} = data;
  return {revision, last_node_id, last_link_id, nodes: [shown], links: [], version, definitions};
}"""
_RUN = """async () => {
  delete window.raihaEnd;
  for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
    app.api.addEventListener(end, event => {
      window.raihaEnd ??= [end, event.detail?.exception_message].filter(Boolean).join(": ");
    });
  }
  if (!(await app.queuePrompt(0, 1))) window.raihaEnd = "refused";
}"""
_RED = """() => app.graph._nodes
  .filter(n => !(n.type in LiteGraph.registered_node_types) || n.has_errors).map(n => n.type)"""
_WIDGETS = """() => app.graph._nodes.map(
  n => [n.type, (n.widgets ?? []).map(w => [w.name, w.value])])"""


class Page:
    """ComfyUI's page in a real browser, with what it complained about."""

    def __init__(self, playwright: Any, url: str) -> None:
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        flags = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
        ]
        self.browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        self.page = self.browser.new_page(viewport={"width": 1900, "height": 1000})
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"pageerror: {error}"))
        self.page.on("console", self._console)
        self.page.request.post(f"{url}/api/settings/Comfy.TutorialCompleted", data="true")
        self.page.goto(url, wait_until="domcontentloaded")
        self.page.wait_for_function(_READY, timeout=120_000)
        self.page.wait_for_timeout(1500)

    def _console(self, message: Any) -> None:
        if message.type == "error" and "raiha" in f"{message.text} {message.location}".lower():
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def build(self, graph: Graph) -> tuple[dict, dict]:
        """Returns: the page's format and the API format of a graph."""
        self.page.evaluate(_BUILD, [graph.nodes, graph.places, graph.note, graph.note_at])
        self.page.wait_for_timeout(1500)
        return self.page.evaluate(_EXPORT)

    def load(self, path: Path) -> None:
        self.page.evaluate("async graph => { await app.loadGraphData(graph); }", json.loads(path.read_text()))
        self.page.wait_for_timeout(1500)

    def check(self, where: str) -> None:
        if red := self.page.evaluate(_RED):
            raise SystemExit(f"{where}: red nodes {red}")
        if self.complaints:
            raise SystemExit(f"{where}: {self.complaints}")

    def run(self, timeout: float = 180) -> None:
        """Queue the graph as the user would, and wait for its end."""
        self.page.evaluate(_RUN)
        self.page.wait_for_function("() => window.raihaEnd !== undefined", timeout=timeout * 1000)
        if (end := self.page.evaluate("() => window.raihaEnd")) != "execution_success":
            raise SystemExit(f"the run ended with {end}")
        self.page.wait_for_timeout(2500)

    def shoot(self, path: Path) -> None:
        self.page.evaluate("() => { app.canvas.deselectAll?.(); app.canvas.ds.reset(); }")
        self.page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.wait_for_timeout(1500)
        self.page.screenshot(path=path)

    def templates(self, path: Path, title: str) -> None:
        """The Templates dialog with our workflows."""
        self.page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        self.page.wait_for_timeout(2500)
        self.page.get_by_role("dialog").get_by_text(title, exact=True).first.click()
        self.page.wait_for_timeout(3500)
        self.page.screenshot(path=path)
        self.page.keyboard.press("Escape")


def write_json(path: Path, data: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _object_crops(before: Image.Image, after: Image.Image, mask: Image.Image) -> Image.Image:
    """Before and after side by side, cut to the object."""
    left, top, right, bottom = mask.point(lambda v: 255 * (v > 127)).getbbox()
    width, height = THUMBNAIL[0] // 2, THUMBNAIL[1]
    side = min(before.height, max(bottom - top, (right - left) * height / width) * 1.25)
    wide = side * width / height
    x = min(max(0, (left + right - wide) / 2), before.width - wide)
    y = min(max(0, (top + bottom - side) / 2), before.height - side)
    sheet = Image.new("RGB", THUMBNAIL, PAPER)
    for n, picture in enumerate((before, after)):
        box = (x, y, x + wide, y + side)
        part = picture.resize((width - 2 * (n == 0), height), Image.Resampling.LANCZOS, box=box)
        sheet.paste(part, (n * width, 0))
    return sheet


def _picture(data: bytes, name: str) -> Image.Image:
    """What was saved; of a clip its middle frame."""
    if not name.endswith((".mp4", ".mkv")):
        return Image.open(io.BytesIO(data)).convert("RGB")
    import av

    frames = [frame.to_image() for frame in av.open(io.BytesIO(data)).decode(video=0)]
    return frames[len(frames) // 2]


def _fitted(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", THUMBNAIL, PAPER)
    sheet.paste(picture, ((THUMBNAIL[0] - picture.width) // 2, (THUMBNAIL[1] - picture.height) // 2))
    return sheet


def thumbnail(name: str, graph: Graph, saved: Image.Image) -> Image.Image:
    """A picture of the workflow's real result."""
    if name == "explain_retrieval":
        return _fitted(saved)
    if name in ("01_paste_and_harmonize", "compare_harmonizers"):
        return ImageOps.fit(saved, THUMBNAIL, Image.Resampling.LANCZOS)
    given = graph.nodes["1"]["inputs"]
    demo = ROOT / "assets" / str(given.get("image") or given["file"]).removeprefix("example: ")
    mask = demo.with_name(f"{demo.stem}_mask{demo.suffix}")
    before, inside = (_picture(path.read_bytes(), path.name) for path in (demo, mask))
    return _object_crops(before, saved, inside.convert("L"))


def export(page: Page, server: Any, shots: Path | None, only: list[str]) -> None:
    for name, graph in GRAPHS.items():
        if only and name not in only:
            continue
        started = time.monotonic()
        page_format, api_format = page.build(graph)
        page.check(f"{name} as built")
        ui_path = ROOT / "workflows" / f"{name}.json"
        write_json(ui_path, page_format)
        write_json(ROOT / "workflows" / "api" / f"{name}.json", api_format)
        page.load(ui_path)
        page.check(f"{name} as written")
        page.run()
        page.check(f"{name} after a run")
        if shots is not None:
            page.shoot(shots / f"{name}.png")
        prompts = pack("workflows.host_results")
        (entry,) = prompts.saved_pictures(server.run(api_format))
        saved = _picture(server.fetch(entry), entry["filename"])
        thumbnail(name, graph, saved).save(ROOT / "workflows" / f"{name}.jpg", quality=90)
        print(f"{name}: {time.monotonic() - started:.1f} s, widgets {page.page.evaluate(_WIDGETS)}")
    if not only or BLUEPRINT in only:
        page.build(GRAPHS["01_paste_and_harmonize"])
        blueprint = page.page.evaluate(_BLUEPRINT, [BLUEPRINT, BLUEPRINT_WIDGETS])
        write_json(ROOT / "subgraphs" / f"{BLUEPRINT}.json", blueprint)
        page.load(ROOT / "subgraphs" / f"{BLUEPRINT}.json")
        page.check("the blueprint")
        if shots is not None:
            page.shoot(shots / "blueprint.png")
    if shots is not None:
        page.templates(shots / "templates.png", "raiha")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True, metavar="PATH")
    parser.add_argument("--python", help="the interpreter that ComfyUI runs in")
    parser.add_argument("--shots", type=Path, metavar="DIR", help="screenshots to look at")
    parser.add_argument("--only", nargs="+", default=[], choices=[*GRAPHS, BLUEPRINT], help="not all of them")
    arguments = parser.parse_args()
    if arguments.shots is not None:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    checkout = pack("workflows.host_checkout").Checkout
    with (
        tempfile.TemporaryDirectory() as base,
        checkout(arguments.comfyui, pack_root=ROOT, base=Path(base), python=arguments.python) as server,
        sync_playwright() as playwright,
    ):
        export(Page(playwright, server.url), server, arguments.shots, arguments.only)


if __name__ == "__main__":
    main()
