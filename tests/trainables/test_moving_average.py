import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trainables.config import ModelConfig
from trainables.models import build_model
from trainables.moving_average import MovingAverage


def test_it_is_torch_s_own_average() -> None:
    network = build_model(ModelConfig(head_channels=8), 3, 8, seed=0)
    ours = MovingAverage(network, 0.9)
    average = get_ema_multi_avg_fn(0.9)
    theirs = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    for _ in range(3):
        with torch.no_grad():
            network(torch.randn(2, 3, 32, 32))
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        ours.update()
        theirs.update_parameters(network)
    assert ours.num_updates == 3
    expected = theirs.module.state_dict()
    for key, tensor in ours.network.state_dict().items():
        if tensor.is_floating_point():
            assert tensor.equal(expected[key]), key


@pytest.mark.parametrize("num_updates", [1, 2])
def test_by_hand(num_updates: int) -> None:
    network = build_model(ModelConfig(head_channels=8), 3, None, seed=0)
    average = MovingAverage(network, 0.75)
    weights, averaged = (next(iter(x.parameters())) for x in (network, average.network))
    for value in range(num_updates):
        with torch.no_grad():
            weights.fill_(4.0 * (value + 1))
        average.update()
    assert averaged.unique().item() == {1: 4.0, 2: 5.0}[num_updates]
