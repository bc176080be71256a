"""Writes a config as a file of the dialect."""

import re
from collections.abc import Sequence
from typing import Any

from trainables.config import Config
from trainables.data import open_split, training_pixel_counts
from trainables.dotted_paths import leaves, lookup
from trainables.losses import cross_entropy_weights
from trainables.openseg.dialect import (
    ALIGN_METHODS,
    BLOCK,
    CROPPING,
    HRNETS,
    IMAGENET,
    METHOD,
    MODES,
    NETWORKS,
    PAD_MODES,
    POLICY,
    RMI,
    TRANSFORMS,
    Network,
)
from trainables.openseg.reader import read_openseg
from trainables.protocol import DialectFile


def write_openseg(config: Config, class_weights: Sequence[float] | None = None) -> dict[str, Any]:
    """Return a config as a file of the dialect; values that the dialect cannot express go into the extra block.

    The file holds every key that the original reads without a default. `command_line` returns the values that the
    original only takes from flags.

    Args:
        config: The config.
        class_weights: Weight of every class in the cross entropy if a scheme computes it from the training pixels,
            because the dialect only has numbers.
    """
    document = _document(config)
    loss = config.loss
    if isinstance(loss.ce_weights, tuple):
        class_weights = [weight**loss.ce_weight_power for weight in loss.ce_weights]
    if class_weights is not None and "loss.ce_weights" not in config.unused():
        document["loss"]["params"]["ce_weight"] = list(class_weights)
    said = Config.model_validate(read_openseg(document, BLOCK).values).model_dump(mode="json")
    whole = config.model_dump(mode="json", round_trip=True)
    unsaid = {path: value for path, value in leaves(whole) if lookup(said, path, None) != value}
    if "loss.ce_weights" in unsaid:  # without a power, given weights are used as they are
        unsaid["loss.ce_weight_power"] = loss.ce_weight_power
    return {**document, BLOCK: unsaid} if unsaid else document


def openseg_file(config: Config) -> DialectFile:
    """Return a config as a file of the dialect, with class weights computed from the training pixels.

    Raises:
        InputError: a scheme of class weights needs the dataset, and that cannot be read.
    """
    document = write_openseg(config, computed_class_weights(config))
    unused, block = config.unused(), document.get(BLOCK, {})
    return DialectFile(
        document=document,
        flags=command_line(config),
        unsaid=tuple(path for path in block if not any(f"{path}.".startswith(f"{other}.") for other in unused)),
    )


def computed_class_weights(config: Config) -> list[float] | None:
    """Compute the weight of every class from the training pixels, as the trainer does; None if no scheme does.

    Raises:
        InputError: a scheme needs the dataset, and that cannot be read.
    """
    if config.loss.ce_weight_power == 0.0 or isinstance(config.loss.ce_weights, tuple):
        return None
    counts = training_pixel_counts(open_split(config.data, "train"), config.data)
    weights = cross_entropy_weights(config.loss, counts)
    return None if weights is None else weights.tolist()


def command_line(config: Config) -> str:
    """Return the flags that the original needs beside the file, because their defaults override the file."""
    words = ["--drop_last y", "--seed", str(config.train.seed)]
    if config.optim.nbb_mult != 1.0:
        words += ["--nbb_mult", f"{config.optim.nbb_mult:g}"]
    if config.optim.warmup_iters:
        words += ["--is_warm y"]
    if config.contrast.loss_weight > 0.0:
        words += ["--distributed"]  # without it, the original ignores the end of the contrast's warm-up
    return " ".join(words)


def _document(config: Config) -> dict[str, Any]:
    """Return the part of a config that the dialect can express."""
    data, augmentation, contrast, optim = config.data, config.data.augmentation, config.contrast, config.optim
    model_name, backbone, stride = _written_network(config)
    ids, crop = list(data.label_class_ids), list(augmentation.crop_size[::-1])
    any_size = {"size_mode": "diverse_size", "align_method": "only_pad", "pad_mode": "pad_right_down", "fit_stride": 32}
    evaluation = config.evaluation
    document: dict[str, Any] = {
        "dataset": "raysearch",
        "method": METHOD,
        "data": {
            "image_tool": "cv2",
            "input_mode": data.input_mode,
            "num_classes": data.num_classes,
            "label_list": ids,
            "label_class_ids": ids,
            "reduce_zero_label": data.reduce_zero_label,
            "data_dir": data.dir or "",
            "workers": data.workers,
        },
        "train": {
            "batch_size": config.train.batch_size,
            "data_transformer": {
                "size_mode": "fix_size",
                "input_size": crop,
                "align_method": next(name for name, fit in ALIGN_METHODS.items() if fit == augmentation.fit),
                "pad_mode": next(name for name, padding in PAD_MODES.items() if padding == augmentation.padding),
            },
        },
        "val": {"batch_size": evaluation.batch_size, "data_transformer": any_size},
        "test": {
            "batch_size": evaluation.batch_size,
            "mode": next(name for name, mode in MODES.items() if mode == evaluation.mode),
            "scale_search": list(evaluation.scales),
            "data_transformer": any_size,
        },
        "train_trans": {
            "trans_seq": [name for name in TRANSFORMS if augmentation.fit == "crop" or name not in CROPPING],
            "random_resize": {
                "ratio": 1.0,
                "method": "random",
                "scale_range": list(augmentation.scale),
                "aspect_range": list(augmentation.aspect),
            },
            "random_crop": {"ratio": 1.0, "crop_size": crop, "method": "random", "allow_outside_center": False},
            "random_hflip": {"ratio": augmentation.flip, "swap_pair": []},
            "random_brightness": {"ratio": 1.0, "shift_value": augmentation.brightness},
        },
        "val_trans": {"trans_seq": []},
        "normalize": {**IMAGENET, "mean_value": IMAGENET["mean"]},
        "checkpoints": {
            "checkpoints_name": "raysearch",
            "checkpoints_dir": "./checkpoints/raysearch",
            "save_iters": config.train.report_iters,
        },
        "network": {
            "backbone": backbone,
            "model_name": model_name,
            "bn_type": "torchsyncbn",
            "multi_grid": [1, 1, 1],
            "stride": stride,
            "pretrained": config.model.weights if config.model.weights != "timm" else None,
            "loss_weights": {
                "seg_loss": config.loss.ce_coef,
                "aux_loss": config.loss.ce_coef * config.loss.aux_coef,
            },
        },
        "logging": {
            "logfile_level": "info",
            "stdout_level": "info",
            "log_file": "./log/raysearch.log",
            "log_format": "%(asctime)s %(levelname)-7s %(message)s",
            "rewrite": True,
        },
        "lr": {
            "base_lr": optim.lr,
            "nbb_mult": optim.nbb_mult,
            "metric": "iters",
            "lr_policy": POLICY,
            "lambda_poly": {"power": optim.poly_power},
            "is_warm": optim.warmup_iters > 0,
            "warm": {"warm_iters": optim.warmup_iters, "freeze_backbone": False},
        },
        "solver": {
            "display_iter": 10,
            "test_interval": config.train.report_iters,
            "max_iters": config.train.max_iters,
        },
        "optim": {
            "optim_method": optim.name,
            "group_method": None if optim.decay_norm_and_bias else "decay",
            "sgd": {"weight_decay": optim.weight_decay, "momentum": optim.momentum, "nesterov": False},
            "adamw": {"weight_decay": optim.weight_decay, "betas": [0.9, 0.999], "eps": 1e-8},
        },
        "loss": {"loss_type": _written_loss(config), "params": _loss_params(config)},
        "seed": config.train.seed,
    }
    if evaluation.crop_size is not None or evaluation.mode.endswith("crop"):
        document["test"]["crop_size"] = list(evaluation.crop_size or augmentation.crop_size)
    if contrast.loss_weight > 0.0:  # the original turns contrast on if the section exists
        document["contrast"] = {
            "proj_dim": contrast.proj_dim,
            "temperature": contrast.temperature,
            "base_temperature": contrast.base_temperature or contrast.temperature,
            "max_samples": contrast.max_samples,
            "max_views": contrast.max_views,
            "warmup_iters": contrast.warmup_iters,
            "loss_weight": contrast.loss_weight,
            "use_rmi": config.loss.segmentation == "rmi",
            "use_lovasz": config.loss.segmentation == "ce_lovasz",
            "memory_size": contrast.memory_size,
            "pixel_update_freq": contrast.pixel_update_freq,
        }
        if NETWORKS[model_name].has_memory:  # and the memory if this key exists, whatever its value
            document["contrast"]["with_memory"] = True
    return document


def _written_network(config: Config) -> tuple[str, str, int]:
    """Return the name of the nearest network, its backbone, and the stride of its embeddings."""
    model = config.model
    has_embedding = config.contrast.loss_weight > 0.0
    wanted = Network(model.head, has_embedding, has_embedding and config.contrast.memory)
    fallback = wanted._replace(has_memory=False)
    name = next(name for network in (wanted, fallback) for name, known in NETWORKS.items() if known == network)
    if model.head != "deeplab_v3":
        named = [theirs for theirs, ours in HRNETS.items() if ours == model.backbone]
        return name, named[0] if named else "hrnet48", 4
    stride = model.output_stride or 8
    match = re.fullmatch(r"resnet(18|34|50|101|152)(s?)", model.backbone)
    stem = f"{'deepbase_' if match[2] else ''}resnet{match[1]}" if match else "deepbase_resnet101"
    return name, stem if stride == 32 else f"{stem}_dilated{stride}", stride


def _written_loss(config: Config) -> str:
    """Return the name of the nearest loss."""
    if config.contrast.loss_weight > 0.0:
        if config.model.has_aux_head:
            return "contrast_auxce_loss"
        return "mem_contrast_ce_loss" if config.contrast.memory else "contrast_ce_loss"
    match config.model.has_aux_head, config.loss.segmentation:
        case True, "ohem_ce":
            return "fs_auxohemce_loss"
        case True, "rmi":
            return "fs_aux_rmi_loss"
        case True, _:
            return "fs_auxce_loss"
        case False, "ohem_ce":
            return "fs_ohemce_loss"
        case False, "rmi":
            return "fs_rmi_loss"
        case False, "ce_lovasz" | "lovasz":
            return "fs_ce_lovasz_loss"
        case _:
            return "fs_ce_loss"


def _loss_params(config: Config) -> dict[str, Any]:
    loss = config.loss
    params: dict[str, Any] = {
        "ce_reduction": "elementwise_mean",
        "ce_ignore_index": -1,
        "ohem_thresh": loss.ohem_threshold,
        "ohem_minkeep": loss.ohem_min_kept,
    }
    if loss.segmentation == "rmi":
        params |= {"num_classes": config.data.num_classes, "loss_weight_lambda": 1.0 - loss.rmi_weight, **RMI}
    return params
