"""The config that a trainer really uses, read from its parts and from the effect of its last iteration."""

from typing import Any

import torch
from torch import Tensor, nn

from trainables.config import Config, ContrastConfig, DataConfig, LossConfig, ModelConfig, OptimConfig, TrainConfig
from trainables.losses import build_segmentation_loss
from trainables.models import Segmenter
from trainables.optim import poly_lr
from trainables.trainer import Trainer


def config_used(trainer: Trainer) -> dict[str, Any]:
    """Return the nested config that the current parts and the last iteration show, not the one that was given.

    A modified trainer may lack any of its parts. The values are therefore read from the parts that it has, not from the
    config that it was built from. In the shared iterations, the parts are right if they match the values in force; any
    other difference is reported.
    """
    given = trainer.in_force
    used = given.model_copy(
        update={
            "data": _data_used(given.data, trainer),
            "model": _model_used(trainer.network),
            "loss": _loss_used(given, trainer),
            "contrast": _contrast_used(given.contrast, trainer),
            "optim": _optim_used(given, trainer),
            "train": _train_used(given.train, trainer),
        }
    )
    return (trainer.config if used == given else used).model_dump(mode="json")


def _data_used(given: DataConfig, trainer: Trainer) -> DataConfig:
    augmentation, last = given.augmentation, trainer.last_iteration
    if trainer.augmentation is not None:
        augmentation = trainer.augmentation.config_used(augmentation)
    if last is not None:
        augmentation = augmentation.model_copy(update={"crop_size": last.crop_size})
    return given.model_copy(update={"augmentation": augmentation})


def _model_used(network: Segmenter) -> ModelConfig:
    dropouts = [module.p for module in network.head.modules() if isinstance(module, nn.Dropout2d)]
    return network.config.model_copy(update={"dropout": max(dropouts, default=0.0)})


def _loss_used(given: Config, trainer: Trainer) -> LossConfig:
    loss, last = trainer.segmentation_loss.config, trainer.last_iteration
    read: dict[str, Any] = {}
    wanted = _class_weights(build_segmentation_loss(given.loss, trainer.pixel_counts))
    held = _class_weights(trainer.segmentation_loss)
    if wanted.keys() != held.keys() or any(not held[name].equal(wanted[name]) for name in wanted):
        differing = next((weights for name, weights in held.items() if not _same(weights, wanted.get(name))), None)
        read["ce_weights"] = (1.0,) * len(trainer.pixel_counts) if differing is None else tuple(differing.tolist())
    is_trained = given.model.has_aux_head and loss.aux_coef > 0.0 and loss.ce_coef > 0.0
    if last is not None and is_trained and not last.aux_reached_network:
        read["aux_coef"] = 0.0
    return loss.model_copy(update=read)


def _class_weights(loss: nn.Module) -> dict[str, Tensor]:
    return {name: held.cpu() for name, held in loss.named_buffers() if name.rpartition(".")[2] == "weights"}


def _same(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and one.equal(other)


def _contrast_used(given: ContrastConfig, trainer: Trainer) -> ContrastConfig:
    if given.loss_weight == 0.0 and trainer.contrast_loss is None:
        return given
    last, loss = trainer.last_iteration, trainer.contrast_loss
    is_due = last is not None and trainer.iteration > given.warmup_iters
    if loss is None or trainer.network.projection is None or (last and is_due and not last.contrast_reached_network):
        return given.model_copy(update={"loss_weight": 0.0})
    read: dict[str, Any] = {}
    if loss.config.memory and loss.bank is None:
        read["memory"] = False
    if loss.bank is not None:
        is_written = bool((loss.bank.segments_written > 0).any())
        is_expected = last is not None and is_due and last.num_anchors > 0
        read |= {"memory": is_written or not is_expected, "memory_size": loss.bank.segments.shape[1]}
    return loss.config.model_copy(update=read)


def _optim_used(given: Config, trainer: Trainer) -> OptimConfig:
    config, groups = given.optim, trainer.optimizer.param_groups
    backbone, others = groups[0], groups[-1]
    decays = {group["weight_decay"] for group in groups}
    read: dict[str, Any] = {
        "name": "adamw" if isinstance(trainer.optimizer, torch.optim.AdamW) else "sgd",
        "lr": backbone["base_lr"],
        "weight_decay": max(decays),
    }
    if others["base_lr"] != backbone["base_lr"] * config.nbb_mult:  # the quotient alone would have a rounding error
        read["nbb_mult"] = others["base_lr"] / backbone["base_lr"]
    if max(decays) > 0.0:
        read["decay_norm_and_bias"] = len(decays) == 1
    if "momentum" in backbone:
        read["momentum"] = backbone["momentum"]
    factor = poly_lr(
        trainer.iteration - 1,
        max_iters=given.train.max_iters,
        power=config.poly_power,
        warmup_iters=config.warmup_iters,
    )
    if trainer.last_iteration is not None and factor != 1.0 and backbone["lr"] == backbone["base_lr"]:
        read |= {"poly_power": 0.0, "warmup_iters": 0}
    return config.model_copy(update=read)


def _train_used(given: TrainConfig, trainer: Trainer) -> TrainConfig:
    read: dict[str, Any] = {}
    if given.num_threads is not None:
        read["num_threads"] = torch.get_num_threads()
    if trainer.average is None or trainer.average.num_updates != trainer.iteration:
        read["ema_decay"] = 0.0
    last = trainer.last_iteration
    if last is not None:
        read["batch_size"] = last.batch_size
        if last.froze_norm is not None:
            read["freeze_norm"] = last.froze_norm
    return given.model_copy(update=read)
