"""The embedded host's copies of ComfyUI's own nodes, against slow definitions of what those compute."""

import json

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from workflows.run import pack

Host = pack("workflows.host").Host
PromptError = pack("workflows.host").PromptError
MASKS = pack("workflows.host_masks")
IMAGES = pack("workflows.host_images")
LOADING = pack("workflows.host_loading")


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def save(host, name, pixels):
    Image.fromarray(pixels).save(host.folder("input") / name)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_rgb_png_goes_through_load_and_save_unchanged(host):
    pixels = noise(37, 53, 3)
    save(host, "a.png", pixels)
    history = host.run(
        {
            "1": node("LoadImage", image="a.png"),
            "2": node("SaveImage", images=["1", 0], filename_prefix="x/y"),
        }
    )
    (entry,) = history.outputs["2"]["images"]
    assert entry == {"filename": "y_00001_.png", "subfolder": "x", "type": "output"}
    path = host.folder("output") / "x" / "y_00001_.png"
    assert (np.asarray(Image.open(path)) == pixels).all()
    assert json.loads(Image.open(path).text["prompt"])["1"]["class_type"] == "LoadImage"


def test_loadimage_mask_is_one_minus_alpha_and_64_zeros_without(host):
    pixels = noise(20, 30, 4)
    save(host, "rgba.png", pixels)
    save(host, "rgb.png", pixels[..., :3])
    folder = host.folder("input")
    _, mask = LOADING.decode_upload(str(folder / "rgba.png"))
    assert torch.equal(mask[0], 1 - torch.from_numpy(pixels[..., 3].astype(np.float32) / 255))
    _, mask = LOADING.decode_upload(str(folder / "rgb.png"))
    assert mask.shape == (1, 64, 64)
    assert not mask.any()


def test_white_of_a_grey_png_is_not_one(host):
    # Oracle: ComfyUI 0.33.0 gives v * 256 / 65535 for 8-bit grey PNG (read off a running one).
    save(host, "grey.png", np.array([[0, 1, 255]], dtype=np.uint8))
    pixels, _ = LOADING.decode_upload(str(host.folder("input") / "grey.png"))
    expected = torch.tensor([0, 256 / 65535, 255 * 256 / 65535])
    torch.testing.assert_close(pixels[0, 0, :, 0], expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("content", [b"", b"not a picture", "truncated"])
def test_unreadable_picture_is_named(host, content):
    path = host.folder("input") / "bad.png"
    if content == "truncated":
        save(host, "bad.png", noise(40, 40, 3))
        content = path.read_bytes()[:900]
    path.write_bytes(content)
    with pytest.raises(PromptError, match=r"node 1 \(LoadImage\): 'bad.png' cannot be read"):
        host.run({"1": node("LoadImage", image="bad.png"), "2": node("PreviewImage", images=["1", 0])})


@pytest.mark.parametrize("expand", [-3, -1, 0, 2])
@pytest.mark.parametrize("tapered", [True, False])
def test_grow_mask_is_grey_dilation(expand, tapered):
    mask = torch.from_numpy(noise(2, 17, 23, seed=3).astype(np.float32) / 255)
    corner = 0 if tapered else 1
    footprint = np.array([[corner, 1, corner], [1, 1, 1], [corner, 1, corner]])
    expected = mask.numpy()
    for _ in range(abs(expand)):
        step = scipy.ndimage.grey_dilation if expand > 0 else scipy.ndimage.grey_erosion
        expected = np.stack([step(one, footprint=footprint) for one in expected])
    (out,) = MASKS.grow_mask.execute(mask=mask, expand=expand, tapered_corners=tapered).args
    assert np.array_equal(out.numpy(), expected)


def test_paste_is_exact_where_the_mask_is_0_or_1_and_clips_at_the_border():
    destination, source = torch.rand(1, 10, 12, 3), torch.rand(1, 6, 6, 3)
    mask = torch.zeros(1, 6, 6)
    mask[:, :3] = 1
    (out,) = IMAGES.image_composite_masked.execute(
        destination=destination, source=source, x=8, y=5, resize_source=False, mask=mask
    ).args
    expected = destination.clone()
    expected[:, 5:8, 8:12] = source[:, :3, :4]
    assert torch.equal(out, expected)


def test_scale_keeps_the_aspect_and_crops_the_centre():
    image = torch.rand(1, 20, 40, 3)
    scaled = IMAGES.image_scale.execute
    (out,) = scaled(image=image, upscale_method="bilinear", width=0, height=10, crop="disabled").args
    assert out.shape == (1, 10, 20, 3)
    (out,) = scaled(image=image, upscale_method="nearest-exact", width=20, height=20, crop="center").args
    assert torch.equal(out, image[:, :, 10:30])


def test_saving_truncates_and_counts_on(host):
    save(host, "a.png", noise(8, 8, 3))
    prompt = {
        "1": node("SolidMask", value=0.99999, width=8, height=8),
        "2": node("MaskToImage", mask=["1", 0]),
        "3": node("SaveImage", images=["2", 0], filename_prefix="p_%width%"),
    }
    names = [host.run(prompt).outputs["3"]["images"][0]["filename"] for _ in range(2)]
    assert names == ["p_8_00001_.png", "p_8_00002_.png"]
    assert np.asarray(Image.open(host.folder("output") / names[0])).max() == 254


@pytest.mark.parametrize("prefix", ["../x", "/elsewhere/x"])
def test_saving_outside_the_output_folder_is_refused(host, prefix):
    with pytest.raises(PromptError, match="leaves the output folder"):
        host.run(
            {
                "1": node("SolidMask", value=1, width=8, height=8),
                "2": node("MaskToImage", mask=["1", 0]),
                "3": node("SaveImage", images=["2", 0], filename_prefix=prefix),
            }
        )
