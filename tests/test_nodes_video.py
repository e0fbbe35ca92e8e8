"""Harmonize Video, and references of the frames of a batch, on the embedded host.

Oracles: the frames harmonized one by one; PyAV's own reading of what was written.
"""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from tests.node_cases import PHOTOS, make_host, node
from tests.video_cases import HEIGHT, INSIDE, TIMES, WIDTH, Kind, make_clip, pictures, stored
from workflows.run import pack

RGB = Kind(ending=".mkv", codec="ffv1", format="bgr0", matrix=0, range=2)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    made = make_host(tmp_path_factory.mktemp("video"))
    make_clip(made.folder("input") / "clip.mp4")
    make_clip(made.folder("input") / "clip.mkv", RGB)
    return made


def mask_of():
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[(slice(None), *INSIDE)] = 1
    return mask


def execute(video, **inputs):
    usual = {"strength": 1.0, "frames": "per frame", "lossless": False}
    model = pack("nodes.models").load_named_harmonizer("statistics")
    return pack("nodes.video").HarmonizeVideo.execute(video, harmonizer=model, **(usual | inputs))


def file(host, name):
    return pack("workflows.host_video").VideoFromFile(str(host.folder("input") / name))


def batch():
    return torch.from_numpy(pictures(RGB)).float() / 255


def of_pictures(images):
    kinds = pack("workflows.host_video")
    return kinds.VideoFromComponents(kinds.VideoComponents(images, Fraction(25), {"sample_rate": 1}))


def test_a_workflow_loads_harmonizes_and_saves_a_clip(host):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[INSIDE] = 255
    Image.fromarray(mask).save(host.folder("input") / "object.png")
    prompt = {
        "1": node("LoadVideo", file="clip.mp4"),
        "2": node("Raiha_LoadMask", image="object.png"),
        "3": node("Raiha_LoadHarmonizer", harmonizer="statistics"),
        "4": node(
            "Raiha_HarmonizeVideo",
            **{"video": ["1", 0], "mask": ["2", 0], "harmonizer": ["3", 0]},
            **{"strength": 1.0, "frames": "smooth", "lossless": False},
        ),
        "5": node("SaveVideo", video=["4", 0], filename_prefix="video/done", format="auto"),
    }
    history = host.run(prompt)
    (saved,) = history.outputs["5"]["images"]
    assert (saved["filename"], saved["subfolder"]) == ("done_00001_.mp4", "video")
    before = stored(host.folder("input") / "clip.mp4")
    after = stored(host.folder("output") / "video" / "done_00001_.mp4")
    assert (after.codec, after.times, after.tags) == ("h264", before.times, before.tags)
    assert after.sound == before.sound
    assert history.outputs["4"]["text"] == ["5 frames"]


def test_a_file_and_pictures_give_what_each_frame_gives_alone(host):
    nodes, models = pack("nodes.harmonize"), pack("nodes.models")
    with host.session():
        model = models.load_named_harmonizer("statistics")
        alone = [nodes.Harmonize.execute(one[None], mask_of(), model).args[0] for one in batch()]
        made = execute(of_pictures(batch()), mask=mask_of()).args[0].get_components()
        assert torch.equal(made.images, torch.cat(alone))
        assert (made.frame_rate, made.audio) == (25, {"sample_rate": 1})
        written = execute(file(host, "clip.mkv"), mask=mask_of(), lossless=True).args[0]
    found = [np.stack(planes, -1) for planes in stored(written.get_stream_source()).planes]
    assert (np.stack(found) == (torch.cat(alone) * 255).round().numpy()).all()


def test_masks_may_be_one_for_each_frame_or_a_clip(host):
    masks = mask_of().repeat(len(TIMES), 1, 1)
    masks[2] = 0
    clip = of_pictures(masks[..., None].repeat(1, 1, 1, 3))
    with host.session():
        one = execute(of_pictures(batch()), mask=masks).args[0].get_components().images
        other = execute(of_pictures(batch()), mask_video=clip).args[0].get_components().images
        written = execute(file(host, "clip.mkv"), mask_video=clip, lossless=True).args[0]
    assert torch.equal(one, other)
    assert torch.equal(one[2], batch()[2])
    found = [np.stack(planes, -1) for planes in stored(written.get_stream_source()).planes]
    assert (np.stack(found) == (one * 255).round().numpy()).all()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "either 'mask' or 'mask_video'"),
        ({"mask": mask_of().repeat(3, 1, 1)}, "has 5 frames, but there are 3 masks"),
        ({"mask": mask_of(), "references": 1, "gallery": 1}, "either 'references' or 'gallery'"),
        ({"mask_video": "clip.mp4"}, "'mask_video' must come from Load Video"),
        ({"mask": mask_of()[:, :20]}, "must have the same size"),
    ],
)
def test_what_does_not_fit_is_one_sentence(inputs, said, host):
    for video in (file(host, "clip.mp4"), of_pictures(batch())):
        with host.session(), pytest.raises(ValueError, match=said) as error:
            execute(video, **inputs)
        assert "--" not in str(error.value)


def test_a_clip_can_be_cancelled_within_one_frame_and_leaves_nothing(host):
    told = []
    before = set(host.folder("temp").iterdir())
    with host.session() as session:
        session.node_id = "1"

        def on_progress(_node, done, total):
            told.append((done, total))
            session.interrupted = done == 7

        session.on_progress = on_progress
        with pytest.raises(pack("workflows.host_session").InterruptProcessingException):
            execute(file(host, "clip.mp4"), mask=mask_of(), frames="smooth")
    assert told == [(done, 10) for done in range(1, 8)]
    assert set(host.folder("temp").iterdir()) == before


def test_frames_get_references_of_their_own_matches_and_keep_them(host):
    # Oracle: each frame's search alone, on a still scene where all find the same.
    nodes, models = pack("nodes.retrieve"), pack("nodes.models")
    scene = np.asarray(Image.open(host.folder("input") / "composite.png")).astype(np.float32) / 255
    frames = torch.from_numpy(scene) * torch.tensor([1, 0.98])[:, None, None, None]
    mask = torch.zeros(1, *scene.shape[:2])
    mask[:, 20:44, 30:60] = 1
    asked = {"by": "content", "top_k": 2, "exclude": ""}
    folder = host.folder("input") / "photos"
    with host.session():
        encoder = models.load_encoder("lite0-fast")
        photos = [
            torch.from_numpy(np.array(Image.open(folder / f"{name}.png")))[None] / 255 for name in PHOTOS
        ]
        gallery = pack("nodes.gallery").ImagesToGallery.execute(photos, [encoder]).args[0]

        def search(pictures):
            return nodes.RetrieveReferences.execute(gallery, pictures, mask, encoder=encoder, **asked)

        each = [search(one[None]) for one in frames]
        found, _, report = search(frames).args
        rows = [[(item.row, item.content_matches) for item in one.items] for one in found.frames]
        assert rows == [[(item.row, item.content_matches) for item in one.args[1].items] for one in each]
        assert all(rows)
        assert report.startswith("frames 1 to 2: ")
        model = models.load_named_harmonizer("statistics")
        harmonize = pack("nodes.harmonize").Harmonize
        done, said, _ = harmonize.execute(frames, mask, model, references=found).args
        alone = harmonize.execute(frames[1:], mask, model, references=each[1].args[0]).args[0]
        assert torch.equal(done[1:], alone)
        assert "composite 2:" in said
        with pytest.raises(ValueError, match="searched for 2 frames, but here are 1"):
            harmonize.execute(frames[:1], mask, model, references=found)
