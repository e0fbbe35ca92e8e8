"""What the codes of a mask file mean. Oracle: masks drawn here, stored in each way people store them."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from raiha_core.cli import main
from raiha_core.images import read_mask
from raiha_core.mask_files import LabelAbsentError, read_mask_file

OBJECT = np.zeros((20, 30), bool)
OBJECT[5:12, 8:20] = True
COVER = torch.from_numpy(OBJECT.astype(np.float32))[None, None]
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]  # the colours of labels 0 to 3


def palette_file(path, indices, colours, **how):
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(colours)
    image.save(path, **how)


def store(path, label, kind):
    """The object as `label`, everything else as 0."""
    codes = np.where(OBJECT, label, 0)
    if kind == "palette":
        palette_file(path, codes, VOC)
    elif kind == "16 bit":
        Image.fromarray(codes.astype(np.uint16)).save(path)
    elif kind == "RGB":
        Image.fromarray(np.dstack([codes.astype(np.uint8)] * 3)).save(path)
    elif kind == "alpha":
        Image.fromarray(np.dstack([np.full_like(codes, 200)] * 3 + [codes]).astype(np.uint8)).save(path)
    else:
        Image.fromarray(codes.astype(np.uint8)).save(path)


@pytest.mark.parametrize("kind", ["grey", "palette", "16 bit", "RGB", "alpha"])
@pytest.mark.parametrize("label", [1, 2, 3])
def test_one_label_beside_zero_is_the_object_and_said(tmp_path, kind, label):
    store(tmp_path / "m.png", label, kind)
    found = read_mask_file(tmp_path / "m.png")
    assert torch.equal(found.values, COVER)
    assert f"its value {label} is taken as the object" in found.notes[0]
    with pytest.warns(UserWarning, match="mask of labels"):
        assert torch.equal(read_mask(tmp_path / "m.png"), COVER)


@pytest.mark.parametrize(("largest", "is_label"), [(20, True), (21, False), (128, False), (255, False)])
def test_codes_above_twenty_are_cover(tmp_path, largest, is_label):
    store(tmp_path / "m.png", largest, "grey")
    found = read_mask_file(tmp_path / "m.png")
    expected = COVER if is_label else COVER * torch.tensor(largest) / 255
    assert torch.equal(found.values, expected)
    assert bool(found.notes) == is_label


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_several_labels_are_refused_with_their_values_or_one_is_chosen(tmp_path, ending):
    codes = np.where(OBJECT, 2, 0)
    codes[15:18] = 3
    path = tmp_path / f"m.{ending}"
    palette_file(path, codes, VOC)
    with pytest.raises(ValueError, match=r"labels with the values 0, 2, 3: choose"):
        read_mask_file(path)
    assert torch.equal(read_mask(path, label=2), COVER)
    with pytest.raises(LabelAbsentError, match="no pixel of label 5; its values are 0, 2, 3"):
        read_mask_file(path, label=5)


def test_a_label_of_a_large_code_or_of_deep_files_can_be_chosen(tmp_path):
    codes = np.where(OBJECT, 300, 40).astype(np.uint16)
    tifffile.imwrite(tmp_path / "m.tif", codes)
    assert torch.equal(read_mask(tmp_path / "m.tif", label=300), COVER)
    assert torch.equal(read_mask(tmp_path / "m.tif", label=40), 1 - COVER)


def test_a_turned_file_of_labels_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    palette_file(tmp_path / "m.png", np.where(OBJECT, 1, 0), VOC, exif=exif)
    found = read_mask_file(tmp_path / "m.png")
    assert torch.equal(found.values, COVER.rot90(-1, (2, 3)))
    assert found.orientation == 6


@pytest.mark.parametrize("white_first", [False, True])
def test_a_black_and_white_palette_is_what_it_shows(tmp_path, white_first):
    # programs that save space write two colours with a palette, in any order
    indices = OBJECT ^ white_first
    palette_file(tmp_path / "m.png", indices, [255] * 3 + [0] * 3 if white_first else [0] * 3 + [255] * 3)
    found = read_mask_file(tmp_path / "m.png")
    assert torch.equal(found.values, COVER)
    assert not found.notes


def test_a_soft_mask_of_many_greys_in_a_palette_is_what_it_shows(tmp_path):
    ramp = np.linspace(0, 255, 600).round().astype(np.uint8).reshape(20, 30)
    palette_file(tmp_path / "m.png", 255 - ramp, [255 - g for g in range(256) for _ in range(3)])
    assert torch.equal(read_mask(tmp_path / "m.png"), torch.from_numpy(ramp)[None, None] / 255)


def test_a_cutout_with_a_palette_is_its_alpha(tmp_path):
    alpha = np.where(OBJECT, 255, 0).astype(np.uint8)
    picture = Image.fromarray(np.dstack([np.full_like(alpha, 90)] * 3 + [alpha]))
    picture.quantize(16).save(tmp_path / "m.png")
    assert Image.open(tmp_path / "m.png").mode == "P"
    assert torch.equal(read_mask(tmp_path / "m.png"), COVER)


@pytest.mark.parametrize("black", [1, 2])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_black_that_is_not_zero_becomes_zero_and_is_said(tmp_path, black, kind):
    full = np.iinfo(kind).max
    codes = np.where(OBJECT, full, black * (full // 255)).astype(kind)
    Image.fromarray(codes).save(tmp_path / "m.png")
    found = read_mask_file(tmp_path / "m.png")
    assert torch.equal(found.values, COVER)
    assert "nearly black (at most 2 of 255) in 86% of its pixels" in found.notes[0]


@pytest.mark.parametrize(("labels", "ending"), [((15,), "png"), ((3, 7), "tif"), ((20,), "bmp")])
def test_labels_beside_a_void_of_255_are_refused_and_chosen(tmp_path, labels, ending):
    codes = np.zeros((40, 60), np.uint8)
    for number, label in enumerate(labels):
        codes[5:30, 5 + 20 * number : 22 + 20 * number] = label
    codes[30:32, 5:40] = 255
    path = tmp_path / f"voc.{ending}"
    Image.fromarray(codes).save(path)
    listed = ", ".join(map(str, (0, *labels, 255)))
    with pytest.raises(ValueError, match=f"with the values {listed}: choose"):
        read_mask(path)
    found = read_mask(path, label=labels[0])
    assert torch.equal(found[0, 0], torch.from_numpy(codes == labels[0]).float())


@pytest.mark.parametrize("edge", [(4, 10, 16), (18,), (3, 120)])
def test_a_faint_edge_is_no_label_beside_white(tmp_path, edge):
    codes = np.zeros((40, 60), np.uint8)
    codes[10:30, 10:50] = 255
    for number, code in enumerate(edge):
        codes[10:30, 9 - number] = code
    Image.fromarray(codes).save(tmp_path / "soft.png")
    assert torch.equal(read_mask(tmp_path / "soft.png")[0, 0], torch.from_numpy(codes / np.float32(255)))


@pytest.mark.parametrize("kind", ["RGBA", "LA", "RGBA of 254"])
def test_alpha_that_hides_nothing_is_no_mask(tmp_path, kind):
    inside = np.zeros((40, 60), np.uint8)
    inside[10:30, 10:50] = 255
    noise = 255 - np.random.default_rng(0).integers(0, 3, inside.shape, dtype=np.uint8)
    alpha = np.full_like(inside, 254) if "254" in kind else noise
    channels = 1 if kind == "LA" else 3
    Image.fromarray(np.dstack([inside] * channels + [alpha]), kind[:4]).save(tmp_path / "m.png")
    assert torch.equal(read_mask(tmp_path / "m.png")[0, 0], torch.from_numpy(inside / np.float32(255)))


def test_a_black_of_three_stays(tmp_path):
    Image.fromarray(np.where(OBJECT, 255, 3).astype(np.uint8)).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").min() == torch.tensor(3) / 255


def test_a_mask_file_of_nothing_is_no_mask_of_labels(tmp_path):
    for value in (0, 1, 7):
        Image.new("L", (30, 20), value).save(tmp_path / "m.png")
        found = read_mask_file(tmp_path / "m.png")
        assert not any("labels" in note for note in found.notes)


def test_what_the_mask_editor_saves_is_transparent_where_it_was_painted(tmp_path):
    alpha = np.where(OBJECT, 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack([np.full_like(alpha, 90)] * 3 + [alpha])).save(tmp_path / "m.png")
    assert torch.equal(read_mask_file(tmp_path / "m.png", transparent_is_object=True).values, COVER)
    assert torch.equal(read_mask_file(tmp_path / "m.png").values, 1 - COVER)
    Image.fromarray(np.full((20, 30, 4), 255, np.uint8)).save(tmp_path / "none.png")  # nothing was painted
    assert not read_mask_file(tmp_path / "none.png", transparent_is_object=True).values.any()


def raiha(folder, *options):
    """Harmonize c.png with m.png into o.png."""
    files = (folder / "c.png", "--mask", folder / "m.png", "-o", folder / "o.png")
    return main(["harmonize", *map(str, files), "--model", "statistics", *options])


@pytest.fixture
def composite(tmp_path):
    pixels = np.random.default_rng(0).integers(100, 200, (20, 30, 3), dtype=np.uint8)
    pixels[OBJECT] //= 2
    Image.fromarray(pixels).save(tmp_path / "c.png")
    return pixels


@pytest.mark.parametrize(
    ("write", "options", "said"),
    [
        (lambda p: store(p, 1, "grey"), [], "is a mask of labels: its value 1"),
        (lambda p: store(p, 2, "palette"), [], "is a mask of labels: its value 2"),
        (lambda p: palette_file(p, np.where(OBJECT, 2, 1), VOC), ["--label", "2"], ""),
        (lambda p: Image.fromarray(np.where(OBJECT, 255, 2).astype(np.uint8)).save(p), [], "nearly black"),
        (lambda p: Image.fromarray(np.where(OBJECT, 0, 255).astype(np.uint8)).save(p), ["--invert-mask"], ""),
        (
            lambda p: Image.fromarray(np.where(OBJECT, 1, 254).astype(np.uint8)).save(p),
            ["--invert-mask"],
            "nearly",
        ),
    ],
)
def test_the_command_changes_the_object_and_says_what_it_understood(
    tmp_path, composite, capsys, write, options, said
):
    write(tmp_path / "m.png")
    assert raiha(tmp_path, *options) == 0
    error = capsys.readouterr().err
    assert said in error
    assert bool(error) == bool(said)
    changed = (np.asarray(Image.open(tmp_path / "o.png")) != composite).any(-1)
    assert not changed[~OBJECT].any()
    assert changed[OBJECT].mean() > 0.9


@pytest.mark.parametrize(
    ("codes", "sentence"),
    [
        (np.where(OBJECT, 2, 1), "values 1, 2: choose the object's label (--label N)"),
        (np.full((64, 64), 0), "no mask was given"),
        (np.full((64, 64), 255), "no mask was given"),
        (np.full((20, 30), 1), "no mask was given"),
        (np.where(OBJECT, 255, 0).T, "one of them lies on its side"),
        (np.eye(40, 10) * 255, "they must have the same size: make the mask"),
    ],
)
def test_the_command_refuses_in_one_sentence(tmp_path, composite, capsys, codes, sentence):
    Image.fromarray(codes.astype(np.uint8)).save(tmp_path / "m.png")
    assert raiha(tmp_path) == 1
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error
    assert not (tmp_path / "o.png").exists()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_drawn_on_a_photo_as_stored_names_the_orientation(tmp_path, composite, capsys, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(composite).save(tmp_path / "c.png", exif=exif)
    store(tmp_path / "m.png", 255, "grey")
    assert raiha(tmp_path) == 1
    error = capsys.readouterr().err
    assert "m.png is 30x20 but" in error
    assert "is 20x30" in error
    assert f"EXIF orientation {orientation}; the mask fits it as stored" in error


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_a_turned_photo_whose_mask_fits_either_way_is_said(tmp_path, composite, capsys, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(composite).save(tmp_path / "c.png", exif=exif)
    store(tmp_path / "m.png", 255, "grey")
    assert raiha(tmp_path) == 0
    assert f"EXIF orientation {orientation}, " in capsys.readouterr().err


def test_an_inverted_mask_is_said_and_how_to_turn_it(tmp_path, composite, capsys):
    Image.fromarray(np.where(OBJECT, 0, 255).astype(np.uint8)).save(tmp_path / "m.png")
    assert raiha(tmp_path) == 0
    assert "looks inverted" in (error := capsys.readouterr().err)
    assert "--invert-mask turns it round" in error


def test_a_mask_of_twice_the_size_is_resized_and_said(tmp_path, composite, capsys):
    Image.fromarray(OBJECT.repeat(2, 0).repeat(2, 1)).save(tmp_path / "m.png")
    assert raiha(tmp_path) == 0
    assert "is 60x40 but" in (error := capsys.readouterr().err)
    assert "the mask was resized" in error
    changed = (np.asarray(Image.open(tmp_path / "o.png")) != composite).any(-1)
    near = np.zeros_like(OBJECT)  # an antialiased edge reaches one pixel further
    near[4:13, 7:21] = True
    assert not changed[~near].any()
    assert changed[OBJECT].mean() > 0.9
