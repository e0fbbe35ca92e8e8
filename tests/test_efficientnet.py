"""EfficientNet's maps: timm's bit for bit, from either hand's names, in a host's layers."""

import pytest
import torch
from torch import nn

from raiha_core.features import efficientnet, encoders
from raiha_core.features.efficientnet import B0, LITE0, EfficientNet, from_package_names
from raiha_core.features.encoders import lite0_network, lite0_state
from raiha_core.features.weights import lite0_path, read_state
from raiha_core.models.backbone import LITE0_NAME, Backbone

ALL = (0, 1, 2, 3, 4)


def timms(name: str, indices: tuple[int, ...] = ALL) -> nn.Module:
    """timm's maps with random weights and statistics; none of them is 0 or 1 by chance."""
    torch.manual_seed(0)
    network = encoders._timm().create_model(name, pretrained=False, features_only=True, out_indices=indices)
    for key, tensor in network.state_dict().items():
        if "running_var" in key:
            tensor.uniform_(0.3, 2)
        elif "running_mean" in key or "bias" in key:
            tensor.normal_()
    return network.eval()


@pytest.mark.parametrize("size", [(64, 64), (96, 224), (33, 61), (1, 2), (384, 384)])
@pytest.mark.parametrize(("name", "flavour"), [(LITE0_NAME, LITE0), ("tf_efficientnet_b0", B0)])
def test_maps_are_timms_bit_for_bit(name, flavour, size):
    theirs, ours = timms(name), EfficientNet(flavour)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    for layout in (torch.contiguous_format, torch.channels_last):
        theirs, ours, x = (part.to(memory_format=layout) for part in (theirs, ours, x))
        with torch.no_grad():
            wanted, found = theirs(x), ours(x)
        assert [m.shape[1] for m in found] == list(EfficientNet.CHANNELS)
        assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_gradients_are_timms():
    theirs, ours = timms(LITE0_NAME), EfficientNet(LITE0)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 64)
    for network in (theirs, ours.train()):  # ours: batch norms do not learn from the batch
        network(x)[-1].square().sum().backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter.grad, gradients[name].grad), name
    assert torch.equal(ours.bn1.running_mean, theirs.bn1.running_mean)


def test_the_packages_names_become_timms():
    # Oracle: both list the same tensors in the same order; the last six and their norm are the classifier's.
    theirs = read_state(lite0_path())
    wanted = timms(LITE0_NAME).state_dict()
    found = from_package_names(theirs)
    assert list(found) == list(wanted)
    for (name, tensor), source in zip(found.items(), theirs.values(), strict=False):
        assert tensor is source, name
        assert tensor.shape == wanted[name].shape
    with pytest.raises(ValueError, match=r"no EfficientNet has the tensor _blocks\.16\._bn0\.weight"):
        from_package_names({"_blocks.16._bn0.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"no EfficientNet has the tensor _blocks\.0\._bn0\.weight"):
        from_package_names({"_blocks.0._bn0.weight": torch.zeros(1)})  # the first block does not widen


def test_encoder_and_trunk_are_timms_networks_with_the_packages_weights():
    maps = timms(LITE0_NAME, (1, 2, 3, 4))
    maps.load_state_dict(lite0_state(), strict=True)
    image = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(2))
    x = (image - 0.5) / 0.5
    with torch.no_grad():
        assert torch.equal(lite0_network()(x), maps(x)[-1])
        wanted = maps.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        found = Backbone(LITE0_NAME, 2, pretrained=True)(image)
    assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))


def test_frozen_stages_join_norms_to_convolutions_in_training_steps_alone(monkeypatch):
    # Oracle: the same network where nothing is joined; gradients of what learns are the same too.
    joined = []
    plain = efficientnet.F.conv2d

    def counted(*arguments):
        if arguments[2] is not None:  # a layer's own convolution has no bias
            joined.append(arguments[0].shape)
        return plain(*arguments)

    monkeypatch.setattr(efficientnet.F, "conv2d", counted)
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    trunk = Backbone(LITE0_NAME, 2, pretrained=True)
    learnt = trunk.body.blocks[2][0].conv_pw.weight
    found = trunk(image)
    (gradient,) = torch.autograd.grad(sum(level.sum() for level in found[1:]), learnt)
    assert len(joined) == 1 + 2 + 2 * 3  # the stem, a block of two convolutions, two blocks of three
    with torch.no_grad():
        exact = trunk(image)
    assert len(joined) == 9
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)
    trunk.eval()
    assert all(torch.equal(a, b) for a, b in zip(trunk(image), exact, strict=True))
    (expected,) = torch.autograd.grad(sum(level.sum() for level in trunk(image)[1:]), learnt)
    assert len(joined) == 9
    torch.testing.assert_close(gradient, expected, atol=1e-3 * float(expected.abs().max()), rtol=1e-3)


def test_another_trunk_is_timms():
    # what configs with another backbone get; timm's weights are random here, and half precision is kept
    trunk = Backbone("mobilenetv3_small_050", 0, pretrained=False).to(torch.bfloat16)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = trunk(image)
    assert [m.shape[1] for m in found] == list(trunk.channels)
    assert all(m.dtype == image.dtype for m in found)
    with pytest.raises(ValueError, match="maps at strides"):
        Backbone("vit_tiny_patch16_224", 0, pretrained=False)


class Host:
    """A host's layers that say when they are used."""

    used: list[nn.Module]

    class Conv2d(nn.Conv2d):
        def forward(self, x):
            Host.used.append(self)
            return super().forward(x)

    class BatchNorm2d(nn.BatchNorm2d):
        def forward(self, x):
            Host.used.append(self)
            return super().forward(x)


def test_every_layer_with_weights_is_the_hosts():
    Host.used = []
    encoder = encoders.build_encoder("lite0", operations=Host)
    with_weights = [m for m in encoder.modules() if any(True for _ in m.parameters(recurse=False))]
    encoder.tokens(torch.rand(1, 3, 40, 40))
    assert {id(m) for m in Host.used} == {id(m) for m in with_weights}
    assert len(Host.used) == 2 * 48


def test_pictures_go_where_the_host_computes():
    # a host's layers may rest on another device than they compute on
    encoder = encoders.build_encoder("lite0-fast")
    assert encoder.device == torch.device("cpu")
    encoder.compute_device = torch.device("meta")
    assert encoder.device == torch.device("meta")
