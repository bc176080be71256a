import itertools
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.trainables.openseg.files import FITTING, FLAGS, config_of, leaves, reading, scene, street, words_for
from trainables.config import Config
from trainables.openseg.dialect import BLOCK, is_openseg
from trainables.openseg.flags import read_flags
from trainables.openseg.reader import read_openseg
from trainables.openseg.writer import command_line, write_openseg

ALTERNATIVES: dict[str, list[Any]] = {
    "data.dir": ["/somewhere"],
    "data.drawn.num_train": [7],
    "data.drawn.num_val": [3],
    "data.drawn.size": [[40, 50]],
    "data.drawn.seed": [4],
    "data.label_class_ids": [[0, 1, 2, 3], [9, 3, 250, 0]],
    "data.reduce_zero_label": [True],
    "data.class_names": [["a", "b", "c", "d"]],
    "data.input_mode": ["BGR"],
    "data.bit_depth": [12],
    "data.image_scale": [0.3],
    "data.augmentation.fit": ["scale", "scale_and_pad"],
    "data.augmentation.padding": ["center", "right_down", "left_up", "border"],
    "data.augmentation.scale": [[0.7, 1.1]],
    "data.augmentation.aspect": [[1.0, 1.0]],
    "data.augmentation.crop_size": [[32, 48]],
    "data.augmentation.flip": [0.0, 0.1],
    "data.augmentation.brightness": [0.0, 3.3],
    "data.num_images": [5],
    "data.workers": [2],
    "model.head": ["ocr", "deeplab_v3"],
    "model.backbone": ["hrnet_w48", "hrnet_w18", "hrnet_w18_small", "resnet101s", "resnet18", "t2t_vit_14"],
    "model.weights": ["timm", "/w.pth"],
    "model.hrnet_fuse": ["bilinear"],
    "model.output_stride": [4, 8, 16, 32],
    "model.head_channels": [None, 512],
    "model.dropout": [0.0, 0.05],
    "loss.segmentation": ["ohem_ce", "lovasz", "ce_lovasz", "rmi"],
    "loss.ce_coef": [0.3, 0.0],
    "loss.combination": ["product"],
    "loss.lovasz_coef": [0.7],
    "loss.aux_coef": [0.1, 0.0],
    "loss.ohem_threshold": [0.35],
    "loss.ohem_min_kept": [17],
    "loss.rmi_weight": [0.1],
    "loss.ce_weights": ["inverse", [0.1, 0.7, 1.3, 5.0]],
    "loss.ce_weight_power": [1.0, 0.3],
    "contrast.loss_weight": [0.0, 1.7],
    "contrast.temperature": [0.07],
    "contrast.base_temperature": [0.07, 0.1],
    "contrast.strategy": ["hard_fill", "one_sided", "all_cases"],
    "contrast.replacement": [True],
    "contrast.max_samples": [11],
    "contrast.max_views": [1, 12],
    "contrast.min_pixels": [13, 101],
    "contrast.max_keys": [4096],
    "contrast.max_positives": [1],
    "contrast.negative_ratio": [2.0],
    "contrast.proj_dim": [256],
    "contrast.warmup_iters": [5],
    "contrast.memory": [True],
    "contrast.memory_size": [15],
    "contrast.pixel_update_freq": [6],
    "optim.name": ["adamw"],
    "optim.lr": [0.03],
    "optim.nbb_mult": [10.0],
    "optim.momentum": [0.5],
    "optim.weight_decay": [0.0, 0.1],
    "optim.decay_norm_and_bias": [False],
    "optim.poly_power": [0.6, 0.0],
    "optim.warmup_iters": [20],
    "evaluation.mode": ["ms", "sscrop", "mscrop"],
    "evaluation.scales": [[1.0, 1.25]],
    "evaluation.flip": [True],
    "evaluation.crop_size": [[30, 60], [96, 96]],
    "evaluation.batch_size": [3],
    "evaluation.num_images": [5],
    "train.seed": [8],
    "train.max_iters": [300],
    "train.report_iters": [200],
    "train.batch_size": [5],
    "train.micro_batch_size": [2],
    "train.freeze_norm": [True],
    "train.ema_decay": [0.9],
    "train.shared_iters": [50],
    "train.shared_values": [[["optim.lr", 0.5], ["contrast.memory", True]]],
    "train.num_threads": [2],
    "train.device": ["cpu"],
    "train.precision": ["bf16"],
}


def config_with(values: Mapping[str, Any]) -> Config:
    nested: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        below = nested
        for key in sections:
            below = below.setdefault(key, {})
        below[name] = value
    return Config.model_validate(nested)


def config_or_none(values: Mapping[str, Any]) -> Config | None:
    try:
        return config_with(values)
    except ValueError:
        return None


def assert_comes_back(config: Config) -> None:
    document = write_openseg(config)
    read = read_openseg(document, "F.json")
    assert not read.faults
    assert Config.model_validate(read.values) == config
    assert is_openseg(document)
    assert write_openseg(Config.model_validate(read.values)) == document


class TestWrite:
    def test_the_alternatives_cover_every_field_and_change_it(self) -> None:
        default = leaves(Config())
        assert set(ALTERNATIVES) == set(default)
        assert all(value != default[path] for path, values in ALTERNATIVES.items() for value in values)

    @pytest.mark.parametrize("path", ALTERNATIVES)
    def test_every_field_changed_alone_comes_back(self, path: str) -> None:
        basis: list[dict[str, Any]] = [
            {},
            {"contrast.loss_weight": 0.0},
            {"model.head": "ocr", "model.backbone": "hrnet_w48", "data.dir": "/d", "contrast.memory": True},
            {"model.head": "deeplab_v3", "model.backbone": "resnet50s", "loss.segmentation": "rmi"},
        ]
        configs = [
            config
            for below, value in itertools.product(basis, ALTERNATIVES[path])
            if (config := config_or_none({**below, path: value})) is not None
        ]
        assert configs
        for config in configs:
            assert_comes_back(config)

    def test_every_network_loss_and_strategy_comes_back(self) -> None:
        paths = ("model.head", "loss.segmentation", "contrast.loss_weight", "contrast.memory")
        default = leaves(Config())
        strategies = itertools.cycle([default["contrast.strategy"], *ALTERNATIVES["contrast.strategy"]])
        choices = [[default[path], *ALTERNATIVES[path]] for path in paths]
        for values in itertools.product(*choices):
            for backbone in ("test_efficientnet", "hrnet_w32", "resnet152s"):
                others = {"model.backbone": backbone, "contrast.strategy": next(strategies)}
                assert_comes_back(config_with({**dict(zip(paths, values, strict=True)), **others}))

    def test_random_configs_come_back(self) -> None:
        rng, tried = random.Random(0), 0
        while tried < 300:
            paths = rng.sample(list(ALTERNATIVES), rng.randint(1, 25))
            config = config_or_none({path: rng.choice(ALTERNATIVES[path]) for path in paths})
            if config is not None:
                assert_comes_back(config)
                tried += 1

    @pytest.mark.parametrize(("model", "loss"), FITTING)
    @pytest.mark.parametrize("make", [street, scene], ids=["street", "scene"])
    def test_a_file_of_the_dialect_that_is_written_anew_says_the_same(self, make: Any, model: str, loss: str) -> None:
        contrast = street()["contrast"]
        for values in ({}, {"contrast.with_memory": True, "test.mode": "sscrop_test", "test.crop_size": [64, 32]}):
            document = make(**{"contrast": contrast, **values})
            assert_comes_back(config_of(document, words_for(model, loss)))

    def test_what_the_dialect_can_say_needs_no_block(self) -> None:
        config = config_of(street(**{"test.mode": "ss_test"}))
        assert BLOCK not in write_openseg(config)

    def test_the_block_holds_what_it_cannot_say_and_nothing_else(self) -> None:
        said = config_of(street())
        config = said.model_copy(
            update={
                "contrast": said.contrast.model_copy(update={"strategy": "all_cases", "max_keys": 32768}),
                "train": said.train.model_copy(update={"precision": "bf16"}),
            }
        )
        expected = {"contrast.strategy": "all_cases", "contrast.max_keys": 32768, "train.precision": "bf16"}
        assert write_openseg(config)[BLOCK] == expected

    def test_only_dotted_keys_of_the_block_are_values(self) -> None:
        document = {**street(), BLOCK: {"metric": "miou", "train.precision": "bf16"}}
        read = reading(document, FLAGS)
        assert read.values["train"]["precision"] == "bf16"
        assert "metric" not in read.values
        assert read.origins["train.precision"] == "F.json: raysearch: train.precision"

    def test_class_weights_are_written_as_they_act(self) -> None:
        config = config_with({"loss.ce_weights": [1.0, 4.0, 9.0, 16.0], "loss.ce_weight_power": 0.5})
        assert write_openseg(config)["loss"]["params"]["ce_weight"] == [1.0, 2.0, 3.0, 4.0]
        given = config_with({"loss.ce_weights": [1.0, 4.0, 9.0, 16.0]})
        assert write_openseg(given)["loss"]["params"]["ce_weight"] == [1.0, 4.0, 9.0, 16.0]
        assert "loss.ce_weights" not in write_openseg(given).get(BLOCK, {})
        for unweighted in ({}, {"loss.ce_weights": [1, 4, 9, 16], "loss.segmentation": "lovasz"}):
            assert "ce_weight" not in write_openseg(config_with(unweighted))["loss"]["params"]

    def test_weights_switched_off_come_back_switched_off(self) -> None:
        assert_comes_back(config_with({"loss.ce_weights": "inverse", "loss.ce_weight_power": 0.0}))
        assert_comes_back(config_with({"loss.ce_weights": [1, 4, 9, 16], "loss.ce_weight_power": 0.0}))

    def test_weights_of_a_scheme_are_written_as_numbers_and_come_back_as_the_scheme(self) -> None:
        config = config_with({"loss.ce_weights": "inverse", "loss.ce_weight_power": 0.5, "data.dir": "/d"})
        document = write_openseg(config, [0.1, 0.2, 0.3, 0.4])
        assert document["loss"]["params"]["ce_weight"] == [0.1, 0.2, 0.3, 0.4]
        assert Config.model_validate(read_openseg(document, "F.json").values) == config

    def test_width_stands_before_height_in_the_training_crop_alone(self) -> None:
        values = {"data.augmentation.crop_size": [32, 48], "evaluation.crop_size": [30, 60]}
        document = write_openseg(config_with({**values, "evaluation.mode": "sscrop"}))
        assert document["train"]["data_transformer"]["input_size"] == [48, 32]
        assert document["train_trans"]["random_crop"]["crop_size"] == [48, 32]
        assert document["test"]["crop_size"] == [30, 60]

    NEEDED = {
        "": ("dataset", "method", "val_trans"),
        "data": ("image_tool", "input_mode", "num_classes", "label_list", "label_class_ids", "data_dir", "workers"),
        "train": ("batch_size", "data_transformer"),
        "val": ("batch_size", "data_transformer"),
        "test": ("batch_size", "mode", "scale_search", "data_transformer"),
        "train_trans": ("trans_seq", "random_resize", "random_crop", "random_hflip", "random_brightness"),
        "normalize": ("div_value", "mean", "mean_value", "std"),
        "checkpoints": ("checkpoints_name", "checkpoints_dir", "save_iters"),
        "network": ("backbone", "model_name", "bn_type", "stride", "loss_weights"),
        "logging": ("logfile_level", "stdout_level", "log_file", "log_format", "rewrite"),
        "lr": ("base_lr", "metric", "lr_policy", "lambda_poly", "warm"),
        "solver": ("display_iter", "test_interval", "max_iters"),
        "optim": ("optim_method", "sgd", "adamw"),
        "loss": ("loss_type", "params"),
    }
    CONTRAST = ("proj_dim", "temperature", "base_temperature", "max_samples", "max_views", "warmup_iters", "use_rmi")

    @pytest.mark.parametrize("head", ["fcn", "ocr", "deeplab_v3"])
    def test_every_key_that_the_original_reads_without_a_default(self, head: str) -> None:
        document = write_openseg(config_with({"model.head": head}))
        for section, keys in self.NEEDED.items():
            assert set(keys) <= set(document[section] if section else document), section
        for key in (*self.CONTRAST, "loss_weight", "use_lovasz", "memory_size", "pixel_update_freq"):
            assert key in document["contrast"]

    def test_keys_that_switch_things_on_by_being_there_are_left_out(self) -> None:
        assert "contrast" not in write_openseg(config_with({"contrast.loss_weight": 0.0}))
        assert "with_memory" not in write_openseg(Config())["contrast"]
        assert write_openseg(config_with({"contrast.memory": True}))["contrast"]["with_memory"] is True

    def test_the_flags_that_the_original_needs_beside_it(self) -> None:
        assert command_line(config_with({"contrast.loss_weight": 0.0})) == "--drop_last y --seed 0"
        values = {"optim.nbb_mult": 10.0, "optim.warmup_iters": 5, "train.seed": 3}
        words = command_line(config_with(values))
        assert words == "--drop_last y --seed 3 --nbb_mult 10 --is_warm y --distributed"
        assert not read_flags(words.split(), Path()).faults
