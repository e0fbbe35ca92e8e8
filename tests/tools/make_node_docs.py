"""Writes web/docs/*.md, the help that ComfyUI's page shows for a node, from the nodes' own words.

python tests/tools/make_node_docs.py
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "web" / "docs"

# What the tooltips cannot say: where a node stands on the way, and what goes wrong.
NOTES = {
    "Raiha_LoadPicture": """\
ComfyUI's own loader turns 16 bit into fewer levels, ignores colour profiles, gets mirrored EXIF
orientations wrong and loads truncated files without a word; this one does not. Its `alpha` is 1 on the
object of a cut-out: no Invert Mask is needed. Of a picture that the mask editor saved it is what was
painted.""",
    "Raiha_LoadMask": """\
For a mask file beside the composite. A colour picture without varying alpha is refused, because its
brightness is hardly meant as a mask. What ComfyUI's mask editor saved gives what was painted.""",
    "Raiha_SavePicture": """\
Choose 16 bits for a 16-bit composite: pixels outside the mask then leave exactly as they came.""",
    "Raiha_LoadEncoder": """\
| encoder | what it is |
| --- | --- |
| `lite0` | EfficientNet-Lite0, weights in a Python package: no download |
| `lite0-fast` | the same at 256 instead of 384 pixels |
| `lite0-pca128`, `lite0-pca64` | the same in fewer numbers: smaller galleries |
| `dinov2-*`, `dinov3-*` | sees better; fetched once, or a file of `models/raiha_encoders` |
| `dvt-b14` | the paper's; its denoiser's checkpoint goes to `weights` |
| `comfy` | what CLIPVisionLoader gives: DINOv2, DINOv3, SigLIP, CLIP |""",
    "Raiha_LoadGallery": """\
Galleries made by this pack lie in ComfyUI's user folder under `raiha/galleries`. One made by
`raiha gallery build` opens by its path. Where its photos were moved, say in `photos` where they are now.""",
    "Raiha_BuildGallery": """\
The photo folder is never written to. Files that cannot be read are named in `report` and skipped.
Stopping the run keeps what is done. A gallery belongs to the encoder that built it: build another one, by
another name, for another encoder.""",
    "Raiha_ImagesToGallery": """\
For a handful of pictures that are in the workflow already: a batch, or a list of pictures of any sizes,
which becomes one gallery.""",
    "Raiha_RetrieveByContent": """\
As the first of two searches keep all photos (`top_k` 0) and connect `candidates` to `within` of Retrieve
by Illumination. If `report` says that none reaches the threshold, lower it: small galleries seldom hold
anything as alike as a large one.""",
    "Raiha_RetrieveByIllumination": """\
Without `within` it looks for light alone. A mask that leaves no background patch free finds nothing.""",
    "Raiha_ReferencesToImages": """\
In the frames a number stands on the object and on the patch of the photo that shows the same; a letter
(dashed) stands on the background and on the patch under the same light.""",
    "Raiha_LoadHarmonizer": """\
`raiha-plus` is a small network that comes with the pack: it reads the object and what surrounds it, and
references move it by their matched patches. `statistics` transfers colour statistics from a ring around
the object and from the references' matched patches. `seam` is for repainted regions that continue their
surroundings: connect the mask by which the repaint was blended in; what jumps across its border is taken
away inside, smoothly, where the photo is calm enough to tell. Other networks are `.safetensors` files that
`raiha fetch`, `raiha convert` or Raiha's training wrote, in `models/raiha`. The `.pth` of a published
network's authors may lie there as it is: what it is comes from its tensors, nothing in it is run, and it is
converted when it is first used, beside the file where that folder can be written. The log says what it is
and whether its licence allows commercial use; `raiha models` lists what there is.""",
    "Raiha_StatisticsOptions": """\
Take it in place of Load Harmonizer. For nearly the classic transfer of Reinhard set `deviation` to 1,
`contrast` to 0, `ring` to 1 and `cautious` off.""",
    "Raiha_Harmonize": """\
A mask of another size is resized where its sides have the composite's ratio, and refused elsewhere. One
mask serves a whole batch of composites, and the references serve all of them. An empty mask gives the
composite back. A mask that covers everything needs references. Load Image gives
an empty 64x64 mask for pictures without alpha; it is refused in a sentence.
`report` says of each reference how far the result followed it (lightness, colour and contrast, in per cent
of the way to what it shows) and, where it hardly did, why. That is another number than the score, which only
ranks photos. Photos of a gallery that another encoder than `lite0` built are compared again by `lite0`.""",
    "Raiha_LoadClip": """\
ComfyUI's own Load Video serves as well; this one offers the pack's example too. A mask may come as a clip:
load it by a second node, and connect it to `mask_video` of Harmonize Video.""",
    "Raiha_SaveLook": """\
For grading programs that read `.cube`, sRGB in and out. A table knows colours and no places: it holds what
`statistics` does, and what other harmonizers do at the same colour everywhere; where the change differs over
the object, or light, colour, contrast, a limit or more than full strength were set, the node says so and
writes nothing.""",
    "Raiha_HarmonizeVideo": """\
Load Video -> Harmonize Video -> Save Video. The clip is read and written frame by frame, so a long one needs
no more memory than a short one; a clip that Create Video made of pictures is in memory and stays there.
Only what the mask changes is written into a frame's samples: elsewhere they are the source's own, whatever
its matrix, range or depth. Where one sample of colour serves four pixels (4:2:0) that is so up to its cell.
The result is H.264 of high quality; `lossless` gives FFV1, which holds alpha and all depths too. Sound is
copied, times and rotation stay. HDR clips (PQ, HLG) are refused in a sentence. Masks may be one, one for each
frame, or a clip that is white on the object. With a `gallery` photos are searched where a shot starts and
kept while they are as good, so that the object does not flicker with them. Stopping takes at most one
frame.""",
    "Raiha_PasteObject": """\
Run once, then drag the object in the node's picture: the wheel or a corner scales it, the round handle turns
it, and x, y, scale and rotation follow; they stay plain widgets, so links and runs without a page set them
too. x and y are pixels from a point of the background to the same point of the object, which `anchor` names:
with `centre` and 0, 0 the object stands in the middle, with `top left` they are where its upper left corner
lies. The object is what its alpha covers; a clear frame around it counts for nothing. Soft edges are solved
for the object's own colour, so no fringe of the old background comes along.""",
    "Raiha_RetrieveReferences": """\
The short way: gallery, composite and mask in, references for Harmonize out. Thresholds, random draws and
searches in steps are in Retrieve by Content and Retrieve by Illumination.""",
    "Raiha_PicturesAsReferences": """\
For one picture or a few that you have already. Patches of theirs that look like the object are found by the
pack's own encoder; where none is very alike, the most alike ones count, and Harmonize will hardly believe
them by itself: set its `reference_strength` to say how far to go. A mask keeps the look-out to a part.""",
    "Raiha_Compare": """\
The pictures under the slider are at most 2048 pixels long; both outputs are of full size. Connect the gain
map to Preview Image to see where the harmonizer was at work.""",
    "Raiha_Score": """\
The number is a mean distance in CIELAB between the object and what the harmonizer would make of it. Half of
the right pictures that it was measured on score below 3 and one in ten above 11, so it ranks pictures and
proves nothing of one; `report` says how many right pictures score less, and what would be changed. Where the
file `bargainnet-encoder.safetensors` lies in `models/raiha`, `report` has BargainNet's harmony as a second
opinion. An empty mask scores 0.""",
}


# In this order; the pictures are made by make_control_strips.py
CONTROLS = (
    *("strength", "light", "colour", "contrast", "reference_strength", "limit", "keep_hue"),
    *("grow", "feather", "context", "background", "local_light"),
)


def _strips(node_id: str) -> str:
    if node_id != "Raiha_Harmonize":
        return ""
    shown = "\n\n".join(f"![{name}](control_{name}.jpg)" for name in CONTROLS)
    return f"\n## What the controls do\n\n{shown}\n"


def _rows(entries: list[Any]) -> str:
    lines = [f"| `{entry.display_name or entry.id}` | {entry.tooltip} |" for entry in entries]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def pages() -> dict[str, str]:
    """File name -> text, for every node."""
    sys.path.insert(0, str(ROOT))
    from workflows.run import pack

    with tempfile.TemporaryDirectory() as base:
        host = pack("workflows.host").Host(Path(base))
        with host.session():
            schemas = [node.define_schema() for node in pack("nodes").NODES]
    return {
        f"{schema.node_id}.md": f"# {schema.display_name}\n\n{schema.description}\n\n"
        f"{NOTES[schema.node_id]}\n\n## Inputs\n\n{_rows(schema.inputs)}\n\n"
        f"## Outputs\n\n{_rows(schema.outputs)}\n{_strips(schema.node_id)}"
        for schema in schemas
    }


if __name__ == "__main__":
    DOCS.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
