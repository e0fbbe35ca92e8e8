"""A trunk that smooths what it halves: one kernel for two steps, steadier maps, old weights as a start."""

import pytest
import torch
import torch.nn.functional as F

from raiha_core import checkpoint
from raiha_core.features.antialiasing import GROWTH, fitted, widened
from raiha_core.features.efficientnet import B0, LITE0, EfficientNet, convolve_same
from raiha_core.models.backbone import LITE0_NAME, Backbone
from raiha_train.loop import train
from tests.network_cases import fill, pairs, small
from tests.test_train_loop import photos, validations  # noqa: F401  one is a fixture
from tests.training_cases import PLUS, arguments, write_config

pytestmark = pytest.mark.usefixtures("one_thread")


def every_answer(layer: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """The answers of a halving convolution at stride 1, one more on each side."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    before = [max((-(-side // stride) - 1) * stride + kernel - side, 0) // 2 for side in x.shape[-2:]]
    wide = F.pad(x, (before[1] + 1, kernel, before[0] + 1, kernel))
    return F.conv2d(wide, layer.weight, groups=layer.groups)


@pytest.mark.parametrize("size", [(12, 12), (13, 8), (7, 9)])
@pytest.mark.parametrize(("kernel", "groups"), [(3, 1), (5, 4)])
def test_one_wider_convolution_is_the_convolution_and_the_filter(kernel, groups, size):
    # Oracle: answers at every place, smoothed by sums of neighbours, then every second one.
    torch.manual_seed(0)
    narrow = torch.nn.Conv2d(4, 4, kernel, 2, groups=groups, bias=False).double()
    wide = torch.nn.Conv2d(4, 4, kernel + GROWTH, 2, groups=groups, bias=False).double()
    wide.load_state_dict({"weight": widened(narrow.weight.detach())})
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    with torch.no_grad():
        y = every_answer(narrow, x)
        y = (y[..., :-2, :] + 2 * y[..., 1:-1, :] + y[..., 2:, :]) / 4
        y = (y[..., :-2] + 2 * y[..., 1:-1] + y[..., 2:]) / 4
        found = convolve_same(wide, x)
        wanted = y[..., ::2, ::2][..., : found.shape[-2], : found.shape[-1]]
    torch.testing.assert_close(found, wanted)


def test_only_what_halves_a_map_is_wider_and_smooth_maps_hardly_change():
    usual = EfficientNet(LITE0)
    smooth = EfficientNet(type(LITE0)(activation="relu6", squeeze=0, antialias=True))
    own = smooth.state_dict()
    wider = {name for name, tensor in usual.state_dict().items() if own[name].shape != tensor.shape}
    assert wider == {"conv_stem.weight", *(f"blocks.{stage}.0.conv_dw.weight" for stage in (1, 2, 3, 5))}
    state = fitted(usual.state_dict(), own)
    for name, tensor in state.items():
        assert tensor.shape == own[name].shape
        if name in wider:
            torch.testing.assert_close(tensor.sum((2, 3)), usual.state_dict()[name].sum((2, 3)))
        else:
            assert tensor is usual.state_dict()[name] or torch.equal(tensor, usual.state_dict()[name])
    assert fitted(state, own).keys() == state.keys()
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
    torch.testing.assert_close(b, widened(a))  # the stem is frozen
