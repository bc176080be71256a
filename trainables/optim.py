"""Optimiser and learning-rate schedule."""

import torch
from torch import nn

from trainables.config import OptimConfig
from trainables.models.segmenter import Segmenter


def build_optimizer(config: OptimConfig, network: Segmenter) -> torch.optim.Optimizer:
    """Build SGD or AdamW; the backbone learns at `lr`, everything else at `lr * nbb_mult`.

    Each group keeps its full learning rate under `base_lr`. Without `decay_norm_and_bias`, one-dimensional parameters
    (biases, norms, layer scales) are not decayed.
    """
    backbone = list(network.backbone.parameters())
    in_backbone = {id(parameter) for parameter in backbone}
    others = [parameter for parameter in network.parameters() if id(parameter) not in in_backbone]
    groups = []
    for parameters, lr in ((backbone, config.lr), (others, config.lr * config.nbb_mult)):
        for decayed, weight_decay in ((True, config.weight_decay), (False, 0.0)):
            members = [p for p in parameters if _is_decayed(p, config) == decayed]
            if members:
                groups.append({"params": members, "lr": lr, "base_lr": lr, "weight_decay": weight_decay})
    # One kernel for all parameters; on a CPU it gains nothing.
    is_fused = True if next(network.parameters()).is_cuda else None
    match config.name:
        case "sgd":
            return torch.optim.SGD(groups, momentum=config.momentum, fused=is_fused)
        case "adamw":
            return torch.optim.AdamW(groups, fused=is_fused)


def poly_lr(iteration: int, *, max_iters: int, power: float, warmup_iters: int) -> float:
    """Return the factor in [0, 1] on the learning rate of an iteration: (1 - iteration / max_iters) ** power.

    Iterations are counted from 0. This is the poly schedule of DeepLab (arXiv 1606.00915, sec. 4.1). In the first
    `warmup_iters` iterations it is multiplied by a ramp (iteration + 1) / warmup_iters. The ramp starts above 0 because
    a step of length 0 would waste a batch.
    """
    poly = float(max(0.0, 1.0 - iteration / max_iters) ** power)
    return poly * min(1.0, (iteration + 1) / warmup_iters) if warmup_iters else poly


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set the learning rate of each group to `factor` times its full learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["base_lr"]


def _is_decayed(parameter: nn.Parameter, config: OptimConfig) -> bool:
    return config.decay_norm_and_bias or parameter.ndim > 1
