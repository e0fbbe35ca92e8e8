"""A network of another package, made of a host's layer classes: the host may leave its weights elsewhere.

ComfyUI hands in layers that bring their weights to where the picture is. Tensors that belong to no such layer
(position tables, class tokens, LayerScale's factors) are brought there by `with_strays`.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

# by module and name: timm's LayerNorm computes as torch's, but others' subclasses do more
_KINDS = {
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.normalization.LayerNorm",
    "timm.layers.norm.LayerNorm",
}


def use_layers(network: nn.Module, operations: Any) -> nn.Module:
    """Put the host's layers in place of torch's, inside the network; they hold the same tensors.

    Args: operations: a namespace with Linear, Conv2d and LayerNorm; torch's own leaves everything as it is.
    Returns: the network.
    """
    if operations is nn:
        return network
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            made = _hosted(layer, operations)
            if made is not None:
                setattr(parent, name, made)
    return network


def _hosted(layer: nn.Module, operations: Any) -> nn.Module | None:
    """The host's layer of the same shape with the same tensors; None for what is none of `_KINDS`."""
    if f"{type(layer).__module__}.{type(layer).__qualname__}" not in _KINDS:
        return None
    there = torch.device("meta")  # its own tensors are not wanted
    made: nn.Module
    if isinstance(layer, nn.Linear):
        bias = layer.bias is not None
        made = operations.Linear(layer.in_features, layer.out_features, bias=bias, device=there)
    elif isinstance(layer, nn.Conv2d):
        made = operations.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
            device=there,
        )
    else:
        assert isinstance(layer, nn.LayerNorm)
        made = operations.LayerNorm(
            layer.normalized_shape,
            eps=layer.eps,
            elementwise_affine=layer.elementwise_affine,
            bias=layer.bias is not None,
            device=there,
        )
    for name, tensor in layer.named_parameters(recurse=False):
        made.register_parameter(name, nn.Parameter(tensor.detach(), requires_grad=tensor.requires_grad))
    cast("Any", made).of_host = True
    return made.train(layer.training)


def with_strays(network: nn.Module, x: Tensor, call: Callable[[Tensor], Any]) -> Any:
    """`call(x)`, the network's own work, where tensors outside its layers may lie on another device than x.

    Args: call: the network, or what its `forward` does once all is there, where `forward` itself calls this.
    """
    strays = {name: tensor.to(x.device) for name, tensor in _bare(network) if tensor.device != x.device}
    if not strays:
        return call(x)
    return functional_call(network, strays, (x,))  # may come here again, and finds none


def _bare(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Tensors that no layer of the host holds, by their names in the network."""
    found = []
    for place, module in network.named_modules():
        if not getattr(module, "of_host", False):
            begin = f"{place}." if place else ""
            own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            found += [(begin + name, tensor) for name, tensor in own]
    return found
