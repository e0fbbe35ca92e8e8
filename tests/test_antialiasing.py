"""A trunk that smooths what it halves: where, how, steadier maps, old weights as a start."""

import pytest
import torch
import torch.nn.functional as F

from raiha_core import checkpoint
from raiha_core.features.antialiasing import halved
from raiha_core.features.efficientnet import B0, LITE0, EfficientNet, convolve_same
from raiha_core.models.backbone import LITE0_NAME, Backbone
from raiha_train.loop import train
from tests.network_cases import fill, pairs, small
from tests.test_train_loop import photos, validations  # noqa: F401  one is a fixture
from tests.training_cases import PLUS, arguments, write_config

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("size", [(28, 28), (29, 24), (23, 25)])
@pytest.mark.parametrize(("kernel", "groups"), [(3, 1), (5, 4)])
def test_a_smooth_half_lies_where_the_halving_convolution_answers(kernel, groups, size):
    # Oracle: where answers rise evenly from cell to cell, a symmetric filter leaves each as it is.
    torch.manual_seed(0)
    halving = torch.nn.Conv2d(4, 4, kernel, 2, groups=groups, bias=False).double()
    dense = torch.nn.Conv2d(4, 4, kernel, 1, kernel // 2, groups=groups, bias=False).double()
    dense.load_state_dict(halving.state_dict())
    down, across = (torch.arange(side, dtype=torch.float64) for side in size)
    x = (down[:, None] + 0.3 * across).expand(2, 4, *size)
    with torch.no_grad():
        every, wanted = dense(x), convolve_same(halving, x)
        inner = every[..., kernel // 2 : -(kernel // 2), kernel // 2 : -(kernel // 2)]
        wide = F.pad(inner, (kernel // 2,) * 4, mode="replicate")  # the edge is another matter
        found = halved(wide)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found[..., 4:-4, 4:-4], wanted[..., 4:-4, 4:-4])


def test_the_filter_keeps_a_constant_removes_a_checkerboard_and_weighs_as_written():
    # Oracle: by hand. A single bright cell at an odd place is seen with the filter's own weights.
    assert torch.equal(halved(torch.full((1, 2, 8, 8), 3.0)), torch.full((1, 2, 4, 4), 3.0))
    stripes = torch.tensor([0.0, 1.0]).repeat(6).expand(1, 1, 12, 12)
    torch.testing.assert_close(halved(stripes)[..., 2:4], torch.full((1, 1, 6, 2), 0.5))
    spot = torch.zeros(1, 1, 15, 15)
    spot[..., 7, 8] = 1  # even cells are kept of odd sides
    found = halved(spot)[0, 0]
    assert torch.equal(found[:, 4], 0.5 * torch.tensor([0, 0, -1, 9, 9, -1, 0, 0]) / 32)


def test_a_smooth_trunk_has_the_same_weights():
    usual = EfficientNet(LITE0)
    smooth = EfficientNet(type(LITE0)(activation="relu6", squeeze=0, antialias=True))
    shapes = [{name: t.shape for name, t in net.state_dict().items()} for net in (usual, smooth)]
    assert shapes[0] == shapes[1]
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert [level.shape for level in smooth.eval()(x)] == [level.shape for level in usual.eval()(x)]
    assert not B0.antialias


def test_a_shift_by_a_pixel_changes_the_pooled_maps_less():
    # ImageNet's weights on noise with a natural spectrum, cut out of one picture at two places
    torch.manual_seed(0)
    scales = [F.interpolate(torch.rand(1, 3, n, n), 200, mode="bicubic") for n in (5, 13, 50, 200)]
    picture = sum(scales).clamp(0, 4) / 4

    def change(trunk: Backbone) -> float:
        with torch.no_grad():
            first, second = (
                trunk(picture[..., 8:168, x : x + 160])[-1][..., 1:-1, 1:-1].mean((2, 3)) for x in (8, 9)
            )
        return float((first - second).norm() / first.norm())

    usual, smooth = (change(Backbone(LITE0_NAME, 0, antialias=antialias)) for antialias in (False, True))
    assert smooth < usual / 2


def test_other_trunks_are_not_antialiased():
    with pytest.raises(
        ValueError, match="antialias is known for 'tf_efficientnet_lite0' only, not for 'mobil"
    ):
        Backbone("mobilenetv3_small_050", 0, antialias=True, pretrained=False)


def test_a_mirrored_picture_gets_the_mirrored_answer():
    image, mask, _ = pairs(2, 96, 96)
    answers = {}
    for mirrored in (False, True):
        network = fill(small("raiha-plus", mirrored=mirrored, local_map=False)).eval()
        with torch.no_grad():
            answers[mirrored] = [network(image, mask), network(image.flip(-1), mask.flip(-1))]
    plain, turned = answers[True]
    torch.testing.assert_close(turned.lab.shift, plain.lab.shift, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(turned.lab.scale, plain.lab.scale, rtol=1e-4, atol=1e-4)
    plain, turned = answers[False]
    assert (turned.lab.shift - plain.lab.shift).abs().max() > 1e-2


def test_training_sees_a_picture_once():
    network = fill(small("raiha-plus", mirrored=True)).train()
    shapes = []
    network.backbone.register_forward_pre_hook(lambda module, inputs: shapes.append(inputs[0].shape[0]))
    image, mask, _ = pairs(2)
    network(image, mask)
    network.eval()(image, mask)
    assert shapes == [2, 4]


def test_a_run_begins_with_weights_that_smoothed_nothing(tmp_path, photos):  # noqa: F811
    first = write_config(tmp_path, "first", PLUS)
    assert train.main(arguments(first, photos, tmp_path / "runs" / "first")) == 0
    weights = tmp_path / "runs" / "first" / "last.safetensors"
    second = write_config(tmp_path, "second", f"{PLUS[:-1]}, antialias=True)", steps=2)
    assert (
        train.main([*arguments(second, photos, tmp_path / "runs" / "second"), "--start", str(weights)]) == 0
    )
    old, new = (
        checkpoint.load(tmp_path / "runs" / name / "last.safetensors") for name in ("first", "second")
    )
    assert new.config.antialias
    a, b = (loaded.network.backbone.body.conv_stem.weight for loaded in (old, new))
    assert torch.equal(a, b)  # the stem is frozen
