from typing import Any

import pytest
import torch
from torch import nn

from trainables.config import ModelConfig, OptimConfig
from trainables.models import Segmenter, build_model
from trainables.optim import build_optimizer, poly_lr, set_learning_rate


@pytest.fixture(scope="module")
def network() -> Segmenter:
    return build_model(ModelConfig(backbone="test_resnet", head_channels=8), num_classes=3, proj_dim=4, seed=0)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("decay_norm_and_bias", [True, False])
def test_groups_hold_every_parameter_once(network: Segmenter, name: str, decay_norm_and_bias: bool) -> None:
    config = OptimConfig(name=name, decay_norm_and_bias=decay_norm_and_bias)
    optimizer = build_optimizer(config, network)
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in network.parameters())


def test_backbone_and_the_rest_learn_at_their_own_rates(network: Segmenter) -> None:
    optimizer = build_optimizer(OptimConfig(lr=0.02, nbb_mult=10.0, weight_decay=1e-3, momentum=0.7), network)
    backbone, others = optimizer.param_groups
    assert {id(p) for p in backbone["params"]} == {id(p) for p in network.backbone.parameters()}
    assert (backbone["lr"], backbone["base_lr"]) == (0.02, 0.02)
    assert others["lr"] == others["base_lr"] == pytest.approx(0.2)
    assert {(group["weight_decay"], group["momentum"]) for group in optimizer.param_groups} == {(1e-3, 0.7)}


def test_norm_and_bias_are_not_decayed_when_the_config_says_so(network: Segmenter) -> None:
    optimizer = build_optimizer(OptimConfig(decay_norm_and_bias=False, weight_decay=0.1), network)
    free = {id(p) for group in optimizer.param_groups if group["weight_decay"] == 0.0 for p in group["params"]}
    expected = set()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            expected |= {id(module.weight), id(module.bias)}
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            expected.add(id(module.bias))
    assert free == expected


def test_one_step_of_sgd_is_the_formula(network: Segmenter) -> None:
    config = OptimConfig(lr=0.1, nbb_mult=3.0, weight_decay=0.01)
    optimizer = build_optimizer(config, network)
    set_learning_rate(optimizer, 0.5)
    head: Any = network.head
    weight = head[-1].weight
    before = weight.detach().clone()
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), before - 0.5 * 0.1 * 3.0 * (1.0 + 0.01 * before))
    weight.grad = None


@pytest.mark.parametrize(
    ("iteration", "power", "expected"),
    [(0, 0.9, 1.0), (50, 1.0, 0.5), (75, 0.5, 0.5), (99, 2.0, 1e-4), (100, 0.9, 0.0), (120, 0.9, 0.0), (60, 0.0, 1.0)],
)
def test_poly_values(iteration: int, power: float, expected: float) -> None:
    assert poly_lr(iteration, max_iters=100, power=power, warmup_iters=0) == pytest.approx(expected, abs=1e-12)


def test_warm_up_rises_linearly_to_the_schedule() -> None:
    factors = [poly_lr(i, max_iters=100, power=1.0, warmup_iters=4) for i in range(6)]
    assert factors == pytest.approx([0.25 * 1.0, 0.5 * 0.99, 0.75 * 0.98, 0.97, 0.96, 0.95])


def test_learning_rate_factors_do_not_accumulate(network: Segmenter) -> None:
    optimizer = build_optimizer(OptimConfig(lr=0.1, nbb_mult=2.0), network)
    for factor in (0.5, 0.25):
        set_learning_rate(optimizer, factor)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.025, 0.05])


def test_base_learning_rate_survives_a_checkpoint(network: Segmenter) -> None:
    optimizer = build_optimizer(OptimConfig(lr=0.1), network)
    set_learning_rate(optimizer, 0.5)
    restored = build_optimizer(OptimConfig(lr=0.1), network)
    restored.load_state_dict(optimizer.state_dict())
    set_learning_rate(restored, 0.1)
    assert [group["lr"] for group in restored.param_groups] == pytest.approx([0.01, 0.01])
