"""The pretend CUDA device raises and counts as it says. Without a compiler: skipped, with the reason."""

import pytest

from tests import pretend_cuda

pytestmark = pytest.mark.skipif(bool(pretend_cuda.available()), reason=pretend_cuda.available())

ITSELF = """
import torch
from tests.pretend_cuda import DeviceMixError, pretending

def refused(call):
    try:
        call()
    except (DeviceMixError, TypeError):
        return True
    return False

with pretending() as log:
    x = torch.arange(4.0, device="cuda")
    assert str(x.device) == "cuda:0" and str((2 * x + torch.tensor(1.0)).device) == "cuda:0"
    assert not log.waits
    assert refused(lambda: x + torch.ones(4)), "add"
    assert refused(lambda: torch.ones(4)[x.long()]), "index"
    assert refused(lambda: torch.rand(4, device="cuda", generator=torch.Generator())), "generator"
    assert refused(lambda: x.numpy()), "numpy"
    assert not log.waits, log.waits
    assert (2 * x).sum().item() == 12 and float(x[x > 1].sum()) == 5 and (x > 1).any()
    assert sum(log.waits.values()) == 4, log.waits  # three answers, and a size that depends on values
    assert x.cpu().tolist() == [0, 1, 2, 3]
    assert not log.doubles
    x.double()
    assert len(log.doubles) == 1
    layer = torch.nn.Linear(4, 2).to("cuda")
    optimizer = torch.optim.Adam(layer.parameters())
    before = layer.weight.detach().clone()
    layer(x).sum().backward()
    optimizer.step()
    assert str(layer.weight.grad.device) == "cuda:0"
    assert not torch.equal(before, layer.weight)
    drawn = torch.rand(3, device="cuda", generator=torch.Generator("cuda").manual_seed(1))
    assert drawn.shape == (3,)
"""


def test_the_device_refuses_what_cuda_refuses_and_counts_waits_and_doubles():
    pretend_cuda.run(ITSELF)
