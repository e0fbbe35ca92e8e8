"""Every node, and the commands that take `--device`, on the pretend CUDA device: as on the CPU.

Oracle: the same workflow on the CPU. Without a compiler: skipped, with the reason.
"""

import pytest

from tests import pretend_cuda

pytestmark = pytest.mark.skipif(bool(pretend_cuda.available()), reason=pretend_cuda.available())

# the device has no float64 here, as MPS has none; the host carries pictures on the CPU, or on the device
BEGIN = """
import sys
from pathlib import Path

import torch

from raiha_core import precision
from tests.pretend_cuda import pretending

precision.WITHOUT_DOUBLE.add("cuda")
"""
NODES = (
    BEGIN
    + """
import numpy as np
from PIL import Image
from tests.node_cases import ENCODER, PAIR, make_host, node, search, small_gallery
from workflows.run import pack

pack("raiha_core.precision").WITHOUT_DOUBLE.add("cuda")
services = pack("workflows.host_services")
CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")
PAIR_OF = {"composite": ["1", 0], "mask": ["2", 0]}
SEARCH = {**PAIR_OF, "encoder": ["3", 0], "by": "likeness", "top_k": 2}


def prompt(clip, gallery="new"):
    made = {
        **PAIR,
        **ENCODER,
        "4": small_gallery(gallery),
        "7": node("Raiha_LoadHarmonizer", harmonizer="raiha-plus"),
        "5": search("Content"),
        "6": search("Illumination", appearance_threshold=0.01, within=["5", 1]),
        "8": node(
            "Raiha_Harmonize", **PAIR_OF, harmonizer=["7", 0], strength=1.0, references=["6", 0],
            light=0.8, keep_hue=True, grow=1, feather=2, local_light=0.5, limit=60.0,
        ),
        "9": node("Raiha_SavePicture", images=["8", 0], filename_prefix="a", bit_depth="16"),
        "10": node("Raiha_Compare", before=["1", 0], after=["8", 0]),
        "11": node("Raiha_ReferencesToImages", references=["6", 0], **PAIR_OF, size=64, frames=True),
        "12": node("SaveImage", images=["11", 1], filename_prefix="sheet"),
        "13": node("Raiha_Score", **PAIR_OF, harmonizer=["7", 0]),
        "19": node("Raiha_LoadPicture", image="other.png"),
        "20": node("ImageBatch", image1=["1", 0], image2=["19", 0]),
        "21": node("Raiha_ImagesToGallery", images=["20", 0], encoder=["3", 0]),
        "22": node("Raiha_RetrieveReferences", gallery=["21", 0], **SEARCH),
        "23": node("Raiha_PicturesAsReferences", images=["20", 0]),
        "24": node("Raiha_LoadGallery", gallery="small"),
        "25": node("Raiha_RetrieveReferences", gallery=["24", 0], **SEARCH),
        "26": node("Raiha_Harmonize", composite=["20", 0], mask=["2", 0], references=["23", 0], strength=1.0,
                   harmonizer=["30", 0], frames="smooth"),
        "27": node("SaveImage", images=["26", 0], filename_prefix="b"),
        "28": node("PreviewAny", source=["22", 2]),
        "29": node("PreviewAny", source=["25", 2]),
        "30": node("Raiha_StatisticsOptions", **OPTIONS),
        "31": node("Raiha_Harmonize", **PAIR_OF, harmonizer=["30", 0], strength=1.0),
        "32": node("SaveImage", images=["31", 0], filename_prefix="c"),
        "33": node("Raiha_PasteObject", **PASTE),
        "34": node("SaveImage", images=["33", 0], filename_prefix="d"),
    }
    if clip:
        made |= {
            "41": node("LoadVideo", file="clip.mp4"),
            "42": node("Raiha_LoadMask", image="object.png"),
            "43": node("Raiha_HarmonizeVideo", video=["41", 0], mask=["42", 0], harmonizer=["30", 0],
                       gallery=["24", 0], strength=1.0, frames="smooth", lossless=True),
            "44": node("SaveVideo", video=["43", 0], filename_prefix="e", format="auto"),
        }
    return made


host = make_host(Path(sys.argv[1]))
folder = host.folder("input")
Image.open(folder / "photos" / "sklearn_flower.png").save(folder / "other.png")
with host.session():
    schemas = {name: kind.define_schema() for name, kind in host.nodes.items() if name.startswith("Raiha_")}
OPTIONS = {entry.id: entry.default for entry in schemas["Raiha_StatisticsOptions"].inputs}
clip = True
try:
    import av
    from tests.video_cases import HEIGHT, INSIDE, WIDTH, make_clip

    make_clip(folder / "clip.mp4")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[INSIDE] = 255
    Image.fromarray(mask).save(folder / "object.png")
except ImportError:
    clip = False
PASTE = {"background": ["1", 0], "object": ["19", 0], "mask": ["2", 0], "x": 0.1, "y": 0.0, "scale": 0.7}
PASTE |= {"rotation": 20.0, "flip": "none", "anchor": "centre", "feather": 1, "mask_means": "auto"}


def frames_of(path):
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def everything(clip, gallery="new"):
    for kept in (pack("nodes.models").encoder_named, pack("nodes.models").usual_harmonizer):
        kept.cache_clear()
    history = host.run(prompt(clip, gallery))
    texts = {number: entry["text"] for number, entry in history.outputs.items() if "text" in entry}
    files = {}
    for path in sorted(host.folder("output").rglob("*.*")):
        files[path.name] = np.asarray(frames_of(path) if path.suffix == ".mkv" else Image.open(path))
        path.unlink()
    return texts, files


host.run({**ENCODER, "4": small_gallery(), "14": node("PreviewAny", source=["4", 1])})
texts, files = everything(clip)
missing = set(schemas) - {each["class_type"] for each in prompt(clip).values()}
# a clip is read by the host alone, and a look is written from numbers that were read already
elsewhere = {"Raiha_LoadClip", "Raiha_SaveLook"}
assert missing <= elsewhere | (set() if clip else {"Raiha_HarmonizeVideo"}), missing
assert len(files) >= 6 and len(texts) >= 4, (files.keys(), texts)
for carried in (CPU, CUDA):  # as usual, and where the host keeps everything on the device
    services.ModelManagement.get_torch_device = lambda self: CUDA
    services.ModelManagement.intermediate_device = lambda self: carried
    with pretending() as log:
        found, there = everything(clip, f"carried on {carried.type}")
        assert not log.doubles, log.doubles
        assert log.calls > 1000, log.calls
    assert found == texts, (found, texts)
    assert there.keys() == files.keys()
    for name, pixels in files.items():
        assert np.array_equal(pixels, there[name]), name
"""
)


def test_every_node_gives_there_what_it_gives_on_the_cpu(tmp_path):
    pretend_cuda.run(NODES, str(tmp_path))


COMMANDS = (
    BEGIN
    + """
import contextlib, io, json, re

from PIL import Image
from raiha_core.cli import main as cli
from raiha_train.evaluation import evaluate
from tests.node_cases import make_host
from tests.tiny_iharmony4 import make

folder = Path(sys.argv[1])
host = make_host(folder / "host").folder("input")
Image.open(host / "photos" / "sklearn_flower.png").save(host / "other.png")
pair = [str(host / "composite.png"), "--mask", str(host / "mask.png")]
root = make(folder / "data")
lines = [line for line in (root / "refs.jsonl").read_text().splitlines() if "c17089" in line]
(root / "two.jsonl").write_text("".join(line + chr(10) for line in lines))
(root / "IHD_test.txt").write_text("".join(json.loads(line)["input"] + chr(10) for line in lines))


def everything(kind):
    out = folder / kind
    out.mkdir()
    there, encoder = ["--device", kind], ["--encoder", "lite0-fast"]
    store = str(out / "store")
    calls = (
        ["gallery", "build", str(host / "photos"), store, *encoder, *there],
        ["retrieve", *pair, "--gallery", store, "--sheet", str(out / "why.png"), *there],
        ["harmonize", *pair, "--gallery", store, "-o", str(out / "guided.png"), *there],
        ["harmonize", *pair, "--references", str(host / "other.png"), "-o", str(out / "given.png"), *there],
        ["score", *pair, *there],
    )
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for call in calls:
            assert cli(call) == 0, call
    call = ["--data", str(root), "--model", "statistics", "--protocol", "B", "--out", str(out / "b"), *there]
    call += ["--references", str(root / "two.jsonl"), "--seeds", "1", "--no-plots", "--quiet"]
    assert evaluate.main(call) == 0
    return out, said.getvalue()


def pixels_of(path):
    return Image.open(path).tobytes()


cpu, said = everything("cpu")
with pretending() as log:
    there, found = everything("cuda")
    assert not log.doubles, log.doubles
    assert log.calls > 1000, log.calls
for name in ("guided.png", "given.png", "why.png"):
    assert pixels_of(cpu / name) == pixels_of(there / name), name
assert pixels_of(cpu / "guided.png") != pixels_of(cpu / "given.png")  # the references are followed
said, found = (re.sub(r"[0-9.]+ s\\b|/(cpu|cuda)/", "", text) for text in (said, found))
assert said == found and "followed" in said, (said, found)
for name in ("per_image.csv", "beliefs.csv"):
    assert (cpu / "b" / name).read_text() == (there / "b" / name).read_text(), name
"""
)


def test_the_commands_do_too(tmp_path):
    pretend_cuda.run(COMMANDS, str(tmp_path))
