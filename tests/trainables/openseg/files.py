"""Files with the keys of the published ones, and the configs that they are read as."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.config import Config
from trainables.openseg.flags import read_flags
from trainables.openseg.reader import read_openseg
from trainables.protocol import DialectReading

FLAGS = "--model_name hrnet_w48_contrast --backbone hrnet48 --loss_type contrast_ce_loss"


def street(**values: Any) -> dict[str, Any]:
    """Return a file with the keys of the published street files; flags define the network, as for those."""
    return changed(
        {
            "dataset": "streets",
            "method": "fcn_segmentor",
            "data": {
                "image_tool": "cv2",
                "input_mode": "BGR",
                "num_classes": 3,
                "label_list": [7, 8, 11],
                "data_dir": "~/streets",
                "workers": 8,
            },
            "train": {
                "batch_size": 16,
                "data_transformer": {
                    "size_mode": "fix_size",
                    "input_size": [96, 64],
                    "align_method": "only_pad",
                    "pad_mode": "random",
                },
            },
            "val": {"batch_size": 4, "mode": "ss_test", "data_transformer": {"size_mode": "diverse_size"}},
            "test": {"batch_size": 2, "mode": "ss_test", "out_dir": "results"},
            "train_trans": {
                "trans_seq": ["random_resize", "random_crop", "random_hflip", "random_brightness"],
                "random_brightness": {"ratio": 1.0, "shift_value": 7},
                "random_hflip": {"ratio": 0.25, "swap_pair": []},
                "random_resize": {
                    "ratio": 1.0,
                    "method": "random",
                    "scale_range": [0.75, 1.5],
                    "aspect_range": [0.8, 1.2],
                },
                "random_crop": {"ratio": 1.0, "crop_size": [96, 64], "method": "random", "allow_outside_center": False},
            },
            "val_trans": {"trans_seq": []},
            "normalize": {
                "div_value": 255.0,
                "mean_value": [0.485, 0.456, 0.406],
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
            },
            "checkpoints": {"checkpoints_name": "any", "checkpoints_dir": "./any", "save_iters": 1000},
            "network": {
                "backbone": "deepbase_resnet101_dilated8",
                "multi_grid": [1, 1, 1],
                "model_name": "base_ocnet",
                "bn_type": "torchsyncbn",
                "stride": 8,
                "factors": [[8, 8]],
                "loss_weights": {"corr_loss": 0.01, "aux_loss": 0.3, "seg_loss": 1.0},
            },
            "logging": {"log_file": "./any.log", "rewrite": True},
            "lr": {"base_lr": 0.02, "metric": "iters", "lr_policy": "lambda_poly", "step": {"gamma": 0.5}},
            "solver": {"display_iter": 10, "test_interval": 1000, "max_iters": 40000},
            "optim": {
                "optim_method": "sgd",
                "adam": {"betas": [0.9, 0.999], "eps": 1e-08, "weight_decay": 0.0001},
                "sgd": {"weight_decay": 0.0003, "momentum": 0.8, "nesterov": False},
            },
            "loss": {
                "loss_type": "fs_auxce_loss",
                "params": {
                    "ce_weight": [0.8, 0.9, 1.1],
                    "ce_reduction": "elementwise_mean",
                    "ce_ignore_index": -1,
                    "ohem_minkeep": 50000,
                    "ohem_thresh": 0.9,
                },
            },
            "contrast": {
                "proj_dim": 128,
                "temperature": 0.2,
                "base_temperature": 0.07,
                "max_samples": 512,
                "max_views": 50,
                "stride": 8,
                "warmup_iters": 3000,
                "loss_weight": 0.2,
                "use_rmi": False,
            },
        },
        values,
    )


def scene(**values: Any) -> dict[str, Any]:
    """Return a file with the keys of the published scene files: no list of labels, no contrast, several scales."""
    without = {"data.label_list": None, "contrast": None, "loss.params.ce_weight": None, "network.multi_grid": None}
    return street(
        **{
            **without,
            "data.reduce_zero_label": True,
            "data.input_mode": "RGB",
            "train_trans.trans_seq": ["random_hflip", "resize", "random_resize", "random_crop", "random_brightness"],
            "train_trans.resize": {"min_side_length": 520},
            "normalize.mean": [102.9, 115.9, 122.7],
            "test.mode": "ms_test",
            "test.scale_search": [0.5, 1, 1.5],
            "lr.warm": {"warm_iters": 1000, "freeze_backbone": False},
            **values,
        }
    )


def changed(document: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with values set at dotted paths; None removes the key."""
    document = copy.deepcopy(document)
    for path, value in values.items():
        *sections, name = path.split(".")
        below = document
        for key in sections:
            below = below.setdefault(key, {})
        below.pop(name, None)
        if value is not None:
            below[name] = value
    return document


def reading(document: Mapping[str, Any], words: str = "") -> DialectReading:
    flags = read_flags(words.split(), Path("/cwd"))
    assert not flags.faults
    return read_openseg(document, "F.json", flags.given)


def config_of(document: Mapping[str, Any], words: str = FLAGS) -> Config:
    read = reading(document, words)
    assert not read.faults
    return Config.model_validate(read.values)


def leaves(config: Config) -> dict[str, Any]:
    return dict(_leaves(config.model_dump(mode="json"), ()))


def _leaves(values: Mapping[str, Any], sections: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*sections, key))
        else:
            yield ".".join((*sections, key)), value


HRNET = "--backbone hrnet48"


RESNET = "--backbone deepbase_resnet101_dilated8"


FITTING = {  # network and loss -> head, segmentation, coefficient of the auxiliary loss, contrast, memory
    ("hrnet_w48", "fs_ce_loss"): ("fcn", "ce", None, False, False),
    ("hrnet_w48", "fs_ohemce_loss"): ("fcn", "ohem_ce", None, False, False),
    ("hrnet_w48", "fs_ce_lovasz_loss"): ("fcn", "ce_lovasz", None, False, False),
    ("hrnet_w48", "fs_rmi_loss"): ("fcn", "rmi", None, False, False),
    ("hrnet_w48_contrast", "fs_ce_loss"): ("fcn", "ce", None, False, False),
    ("hrnet_w48_contrast", "contrast_ce_loss"): ("fcn", "ce", None, True, False),
    ("hrnet_w48_mem", "mem_contrast_ce_loss"): ("fcn", "ce", None, True, True),
    ("hrnet_w48_ocr", "fs_auxce_loss"): ("ocr", "ce", 0.3, False, False),
    ("hrnet_w48_ocr", "fs_auxohemce_loss"): ("ocr", "ohem_ce", 0.3, False, False),
    ("hrnet_w48_ocr", "fs_aux_rmi_loss"): ("ocr", "rmi", 0.3, False, False),
    ("hrnet_w48_ocr", "fs_ce_loss"): ("ocr", "ce", 1.0, False, False),
    ("hrnet_w48_ocr_contrast", "contrast_auxce_loss"): ("ocr", "ce", 0.3, True, False),
    ("hrnet_w48_ocr_contrast", "contrast_ce_loss"): ("ocr", "ce", 0.0, True, False),
    ("deeplab_v3", "fs_auxce_loss"): ("deeplab_v3", "ce", 0.3, False, False),
    ("deeplab_v3_contrast", "contrast_auxce_loss"): ("deeplab_v3", "ce", 0.3, True, False),
    ("deeplab_v3_mem", "contrast_auxce_loss"): ("deeplab_v3", "ce", 0.3, True, True),
    ("deeplab_v3_mem", "mem_contrast_ce_loss"): ("deeplab_v3", "ce", 0.0, True, True),
}


def words_for(model: str, loss: str) -> str:
    return f"--model_name {model} {RESNET if model.startswith('deeplab') else HRNET} --loss_type {loss}"
