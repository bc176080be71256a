import copy
import itertools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from trainables.config import Config
from trainables.openseg_json import (
    BLOCK,
    Given,
    Reading,
    command_line,
    given_at,
    has_place,
    is_openseg,
    read_flags,
    read_openseg,
    write_openseg,
)

FLAGS = "--model_name hrnet_w48_contrast --backbone hrnet48 --loss_type contrast_ce_loss"


def street(**values: Any) -> dict[str, Any]:
    """A file with the keys of the published ones for streets; the network is left to flags, as in those."""
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
    """A file with the keys of the published ones for scenes: no list of labels, no contrast, several scales."""
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
    """A copy with values set at dotted paths; None takes the key away."""
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


def reading(document: Mapping[str, Any], words: str = "") -> Reading:
    flags = read_flags(words.split(), Path("/cwd"))
    assert not flags.faults
    return read_openseg(document, "F.json", flags.given)


def config_of(document: Mapping[str, Any], words: str = FLAGS) -> Config:
    read = reading(document, words)
    assert not read.faults
    return Config.model_validate(read.values)


def faults_of(document: Mapping[str, Any], words: str = FLAGS) -> list[str]:
    return [str(fault) for fault in reading(document, words).faults]


def notices_of(document: Mapping[str, Any], words: str = FLAGS) -> list[str]:
    return list(reading(document, words).notices)


def leaves(config: Config) -> dict[str, Any]:
    return dict(_leaves(config.model_dump(mode="json"), ()))


def _leaves(values: Mapping[str, Any], sections: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*sections, key))
        else:
            yield ".".join((*sections, key)), value


class TestIsOpenseg:
    def test_the_files_of_the_dialect_are_known_by_what_they_hold(self) -> None:
        assert is_openseg(street())
        assert is_openseg(street(method=None))
        assert is_openseg({"method": "fcn_segmentor"})

    @pytest.mark.parametrize(
        "document",
        [
            {},
            Config().model_dump(mode="json"),
            {"data": {"label_list": [0, 1]}},
            {"network": "hrnet48"},
            {"network": {"layers": 3}},
            {"method": "adam", "lr": 0.1},
        ],
    )
    def test_other_files_are_not(self, document: dict[str, Any]) -> None:
        assert not is_openseg(document)


class TestRead:
    def test_every_value_of_a_file(self) -> None:
        expected = {
            "data.dir": "~/streets",
            "data.label_class_ids": [7, 8, 11],
            "data.input_mode": "BGR",
            "data.workers": 8,
            "data.augmentation.scale": [0.75, 1.5],
            "data.augmentation.aspect": [0.8, 1.2],
            "data.augmentation.crop_size": [64, 96],
            "data.augmentation.flip": 0.25,
            "data.augmentation.brightness": 7.0,
            "model.backbone": "hrnet_w48",
            "model.hrnet_fuse": "bilinear",
            "model.head_channels": None,
            "loss.ohem_threshold": 0.9,
            "loss.ohem_min_kept": 50000,
            "loss.ce_weights": [0.8, 0.9, 1.1],
            "loss.ce_weight_power": 1.0,
            "contrast.loss_weight": 0.2,
            "contrast.temperature": 0.2,
            "contrast.base_temperature": 0.07,
            "contrast.max_samples": 512,
            "contrast.max_views": 50,
            "contrast.min_pixels": 51,
            "contrast.proj_dim": 128,
            "contrast.warmup_iters": 3000,
            "optim.lr": 0.02,
            "optim.momentum": 0.8,
            "optim.weight_decay": 0.0003,
            "evaluation.batch_size": 4,
            "train.max_iters": 40000,
            "train.report_iters": 1000,
            "train.batch_size": 16,
        }
        read, default = leaves(config_of(street())), leaves(Config())
        assert {path: value for path, value in read.items() if value != default[path]} == expected

    def test_every_value_of_the_memory_and_of_crops(self) -> None:
        document = street(
            **{
                "contrast.with_memory": True,
                "contrast.memory_size": 77,
                "contrast.pixel_update_freq": 3,
                "test.mode": "mscrop_test",
                "test.crop_size": [40, 80],
                "test.scale_search": [0.5, 2],
            }
        )
        words = "--model_name hrnet_w48_mem --backbone hrnet18 --loss_type mem_contrast_ce_loss"
        config = config_of(document, words)
        assert (config.contrast.memory, config.contrast.memory_size, config.contrast.pixel_update_freq) == (True, 77, 3)
        assert (config.evaluation.mode, config.evaluation.flip, config.evaluation.scales) == ("mscrop", True, (0.5, 2))
        assert config.evaluation.crop_size == (40, 80)  # height before width, unlike the training crop
        assert config.model.backbone == "hrnet_w18"

    def test_flags_win_over_the_file(self) -> None:
        words = (
            "--base_lr 1e-3 --nbb_mult 10 --max_iters 500 --test_interval 50 --train_batch_size 3 --val_batch_size 2 "
            "--data_dir sub/images --pretrained w.pth --workers 1 --seed 304 --group_method decay"
        )
        config = config_of(street(), f"{FLAGS} {words}")
        assert (config.optim.lr, config.optim.nbb_mult, config.optim.decay_norm_and_bias) == (1e-3, 1.0, False)
        assert (config.train.max_iters, config.train.report_iters, config.train.batch_size) == (500, 50, 3)
        assert (config.evaluation.batch_size, config.data.workers, config.train.seed) == (2, 1, 304)
        assert (config.data.dir, config.model.weights) == ("/cwd/sub/images", "/cwd/w.pth")

    def test_the_learning_rate_of_the_heads_unless_groups_go_by_decay(self) -> None:
        assert config_of(street(**{"lr.nbb_mult": 10})).optim.nbb_mult == 10.0

    def test_the_warm_up_counts_where_it_is_switched_on(self) -> None:
        assert config_of(scene(), "--model_name hrnet_w48_ocr --backbone hrnet48").optim.warmup_iters == 0
        words = "--model_name hrnet_w48_ocr --backbone hrnet48 --is_warm y"
        assert config_of(scene(), words).optim.warmup_iters == 1000

    @pytest.mark.parametrize("power", [0.5, 1.0])
    def test_the_power_of_the_schedule(self, power: float) -> None:
        assert config_of(street(**{"lr.lambda_poly": {"power": power}})).optim.poly_power == power

    def test_reports_are_no_further_apart_than_the_end(self) -> None:
        assert config_of(street(), f"{FLAGS} --max_iters 300").train.report_iters == 300

    def test_adamw(self) -> None:
        document = street(**{"optim.optim_method": "adamw", "optim.adamw": {"weight_decay": 0.01}})
        assert (config_of(document).optim.name, config_of(document).optim.weight_decay) == ("adamw", 0.01)

    @pytest.mark.parametrize(
        ("name", "path", "unchanged"),
        [
            ("random_resize", "scale", (1.0, 1.0)),
            ("random_resize", "aspect", (1.0, 1.0)),
            ("random_hflip", "flip", 0.0),
            ("random_brightness", "brightness", 0.0),
        ],
    )
    def test_a_change_of_images_counts_where_the_sequence_names_it(self, name: str, path: str, unchanged: Any) -> None:
        sequence = [other for other in street()["train_trans"]["trans_seq"] if other != name]
        augmentation = config_of(street(**{"train_trans.trans_seq": sequence})).data.augmentation
        assert getattr(augmentation, path) == unchanged

    def test_without_a_crop_the_input_size_is_the_crop(self) -> None:
        document = street(**{"train_trans.trans_seq": [], "train.data_transformer.input_size": [30, 20]})
        assert config_of(document).data.augmentation.crop_size == (20, 30)

    @pytest.mark.parametrize(
        ("align", "fit"), [("only_pad", "crop"), ("only_scale", "scale"), ("scale_and_pad", "scale_and_pad")]
    )
    @pytest.mark.parametrize(("mode", "padding"), [("pad_center", "center"), ("pad_border", "border")])
    def test_whole_images(self, align: str, fit: str, mode: str, padding: str) -> None:
        place = "train.data_transformer"
        sequence = {"train_trans.trans_seq": ["random_hflip"], f"{place}.align_method": align}
        augmentation = config_of(street(**sequence, **{f"{place}.pad_mode": mode})).data.augmentation
        assert (augmentation.fit, augmentation.padding, augmentation.crop_size) == (fit, padding, (64, 96))

    def test_crops_are_crops_whatever_becomes_of_smaller_images(self) -> None:
        document = street(**{"train.data_transformer.align_method": "only_scale"})
        assert config_of(document).data.augmentation.fit == "crop"


class TestClasses:
    def test_both_names_of_the_ids(self) -> None:
        document = street(**{"data.label_list": None, "data.label_class_ids": [0, 74, 128]})
        assert config_of(document).data.label_class_ids == (0, 74, 128)

    def test_without_a_list_labels_are_class_indices(self) -> None:
        document = scene(**{"data.reduce_zero_label": None})
        assert config_of(document, "--model_name hrnet_w48_ocr --backbone hrnet48").data.label_class_ids == (0, 1, 2)

    def test_without_a_list_zero_is_reduced_away(self) -> None:
        data = config_of(scene(), "--model_name hrnet_w48_ocr --backbone hrnet48").data
        assert (data.label_class_ids, data.num_classes) == ((0, 1, 2, 3), 3)

    def test_one_id_more_than_classes_is_right_with_reduce_zero_label(self) -> None:
        document = street(**{"data.reduce_zero_label": True, "data.num_classes": 2, "loss.params.ce_weight": [1, 2]})
        assert config_of(document).data.num_classes == 2
        assert not any("num_classes" in notice for notice in notices_of(document))

    def test_another_number_of_ids_is_a_notice_with_both_numbers(self) -> None:
        notices = notices_of(street(**{"data.num_classes": 19}))
        assert "F.json: data.num_classes: 19 classes, but data.label_list makes 3: 3 are trained" in notices


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


class TestNetworksAndLosses:
    @pytest.mark.parametrize(("names", "expected"), FITTING.items(), ids=lambda value: "-".join(map(str, value)))
    def test_what_fits(self, names: tuple[str, str], expected: tuple[Any, ...]) -> None:
        head, segmentation, aux, contrast, memory = expected
        config = config_of(street(), words_for(*names))
        assert (config.model.head, config.loss.segmentation) == (head, segmentation)
        assert config.loss.aux_coef == (0.4 if aux is None else aux)
        assert (config.contrast.loss_weight, config.contrast.memory) == (0.2 if contrast else 0.0, memory)
        assert config.model.dropout == {"fcn": 0.1, "ocr": 0.05, "deeplab_v3": 0.0}[head]
        assert config.model.head_channels is None

    @pytest.mark.parametrize(
        ("model", "loss", "needs"),
        [
            ("hrnet_w48", "fs_auxce_loss", "an auxiliary output"),
            ("hrnet_w48_contrast", "contrast_auxce_loss", "an auxiliary output"),
            ("hrnet_w48", "contrast_ce_loss", "embeddings"),
            ("deeplab_v3", "mem_contrast_ce_loss", "embeddings"),
            ("hrnet_w48_ocr", "fs_ce_lovasz_loss", "no auxiliary output"),
        ],
    )
    def test_what_does_not_fit_names_what_does(self, model: str, loss: str, needs: str) -> None:
        (fault,) = faults_of(street(), words_for(model, loss))
        start = f"--loss_type {loss}: {loss} wants a network with {needs}, which {model} is not; give --loss_type, one "
        assert fault.startswith(start)
        losses, networks = fault.removeprefix(start).removeprefix("of ").split(", or --model_name, one of ")
        for other in losses.split(", "):
            assert not faults_of(street(), words_for(model, other))
        for other in networks.split(", "):
            assert not faults_of(street(), words_for(other, loss))

    @pytest.mark.parametrize(
        ("backbone", "expected"),
        [
            ("deepbase_resnet101_dilated8", ("resnet101s", 8)),
            ("deepbase_resnet50_dilated16", ("resnet50s", 16)),
            ("resnet101_dilated8", ("resnet101", 8)),
            ("resnet18_dilated8", ("resnet18", 8)),
            ("deepbase_resnet18_dilated8", ("resnet18", 8)),
            ("resnet50", ("resnet50", 32)),
        ],
    )
    def test_dilated_resnets(self, backbone: str, expected: tuple[str, int]) -> None:
        words = f"--model_name deeplab_v3 --backbone {backbone} --loss_type fs_auxce_loss"
        model = config_of(street(), words).model
        assert (model.backbone, model.output_stride) == expected
        missing = any(f"there is no {backbone} here" in notice for notice in notices_of(street(), words))
        assert missing == (backbone == "deepbase_resnet18_dilated8")

    @pytest.mark.parametrize("width", [18, 32, 48, 64])
    def test_hrnets_of_every_width_fuse_as_the_original_does(self, width: int) -> None:
        model = config_of(street(), f"--model_name hrnet_w48 --backbone hrnet{width} --loss_type fs_ce_loss").model
        assert (model.backbone, model.hrnet_fuse, model.output_stride) == (f"hrnet_w{width}", "bilinear", None)

    @pytest.mark.parametrize(
        ("stated", "expected"), [(None, True), (True, True), (False, False)], ids=["absent", "true", "false"]
    )
    def test_the_value_of_with_memory_counts_not_its_presence(self, stated: bool | None, expected: bool) -> None:
        document = street(**{"contrast.with_memory": stated})
        assert config_of(document, words_for("hrnet_w48_mem", "mem_contrast_ce_loss")).contrast.memory is expected
        assert config_of(document).contrast.memory is (stated is True)

    @pytest.mark.parametrize(
        ("values", "segmentation"),
        [
            ({"contrast.use_rmi": True}, "rmi"),
            ({"contrast.use_lovasz": True}, "ce_lovasz"),
            ({"contrast.use_lovasz": False}, "ce"),
        ],
    )
    def test_the_segmentation_term_beside_the_contrast(self, values: dict[str, Any], segmentation: str) -> None:
        assert config_of(street(**values)).loss.segmentation == segmentation
        plain = "--model_name hrnet_w48_contrast --backbone hrnet48 --loss_type fs_ce_loss"
        assert config_of(street(**values), plain).loss.segmentation == "ce"

    def test_the_auxiliary_loss_is_a_share_of_the_segmentation_loss(self) -> None:
        document = street(**{"network.loss_weights": {"seg_loss": 0.5, "aux_loss": 0.2}})
        loss = config_of(document, words_for("hrnet_w48_ocr", "fs_auxce_loss")).loss
        assert (loss.ce_coef, loss.aux_coef) == (0.5, 0.4)

    def test_contrast_alone(self) -> None:
        document = street(**{"network.loss_weights": {"seg_loss": 0, "aux_loss": 0}})
        config = config_of(document, words_for("deeplab_v3_contrast", "contrast_auxce_loss"))
        assert (config.loss.ce_coef, config.contrast.loss_weight) == (0.0, 0.2)

    def test_class_weights_beside_the_data(self) -> None:
        document = street(**{"loss.params.ce_weight": None, "data.ce_weight": [1, 5, 10]})
        assert (config_of(document).loss.ce_weights, config_of(document).loss.ce_weight_power) == ((1, 5, 10), 1.0)
        assert config_of(changed(document, {"data.ce_weight": None})).loss.ce_weight_power == 0.0

    def test_the_share_of_mutual_information(self) -> None:
        document = street(**{"loss.params.loss_weight_lambda": 0.25})
        assert config_of(document, words_for("hrnet_w48", "fs_rmi_loss")).loss.rmi_weight == 0.75


class TestFaults:
    def test_a_placeholder_says_which_flag_is_missing(self) -> None:
        for name in ("base_ocnet", "asp_ocnet"):
            (fault,) = faults_of(street(**{"network.model_name": name}), "")
            assert fault.startswith(f"F.json: network.model_name: {name} stands for the network that ")
            assert "give --model_name, one of hrnet_w48, " in fault

    def test_all_that_is_missing_is_named_at_once(self) -> None:
        places = [fault.where for fault in read_openseg({"method": "fcn_segmentor"}, "F.json").faults]
        assert places == [
            f"F.json: {place}"
            for place in (
                "data.data_dir",
                "data.label_list",
                "train.data_transformer.input_size",
                "network.model_name",
                "loss.loss_type",
                "lr.base_lr",
                "train.batch_size",
                "solver.max_iters",
                "solver.test_interval",
            )
        ]

    @pytest.mark.parametrize(
        ("values", "words", "expected"),
        [
            ({"method": "other"}, FLAGS, "F.json: method: must be fcn_segmentor; "),
            ({}, "--model_name hrnet_w48_contrst", "--model_name hrnet_w48_contrst: hrnet_w48_contrst is not known; "),
            ({}, "--model_name isanet", "isanet is not known; give one of hrnet_w48, hrnet_w48_contrast, "),
            (
                {},
                "--model_name hrnet_w48 --loss_type fs_ce_loss",
                "F.json: network.backbone: deepbase_resnet101_dilated8 is no HRNet, which hrnet_w48 wants; "
                "give --backbone, one of hrnet18, hrnet32, hrnet48, hrnet64",
            ),
            (
                {},
                "--model_name deeplab_v3 --backbone hrnet48",
                "--backbone hrnet48: hrnet48 is no ResNet, which deeplab_v3 wants; give --backbone, such as ",
            ),
            ({"network.backbone": None}, "--model_name deeplab_v3", "F.json: network.backbone: is missing; "),
            ({}, f"{FLAGS} --loss_type fs_auxceloss", "fs_auxceloss is not known; did you mean fs_auxce_loss? Valid"),
            ({"data.label_class_ids": [1, 2, 3]}, FLAGS, "F.json: data.label_list: is data.label_class_ids by its "),
            ({"data.label_list": 5}, FLAGS, "F.json: data.label_list: 5 must be a list; "),
            ({"data.num_classes": "many"}, FLAGS, "F.json: data.num_classes: many must be a number; "),
            ({"data.data_dir": ["a", "b"]}, FLAGS, 'F.json: data.data_dir: ["a", "b"] must be one folder; '),
            ({"train_trans.trans_seq": "all"}, FLAGS, "F.json: train_trans.trans_seq: all must be a list; "),
            (
                {"train_trans.random_crop.crop_size": [520]},
                FLAGS,
                "F.json: train_trans.random_crop.crop_size: [520] must be a list of two whole numbers; ",
            ),
            (
                {"train.data_transformer.align_method": "fit"},
                FLAGS,
                "F.json: train.data_transformer.align_method: fit is",
            ),
            (
                {"train.data_transformer.pad_mode": "left"},
                FLAGS,
                "F.json: train.data_transformer.pad_mode: left is not",
            ),
            ({"loss.params.ce_reduction": "sum"}, FLAGS, "F.json: loss.params.ce_reduction: sum: only means "),
            ({"data.ce_weight": [1, 2, 3]}, FLAGS, "F.json: data.ce_weight: differs from loss.params.ce_weight; "),
            ({"contrast": None}, FLAGS, "F.json: contrast: is missing; add the section with loss_weight, proj_dim, "),
            ({"contrast.temperature": None}, FLAGS, "F.json: contrast.temperature: is missing; "),
            ({"contrast": 3}, FLAGS, "F.json: contrast: 3 must be a mapping; "),
            ({"optim.optim_method": "adam"}, FLAGS, "F.json: optim.optim_method: adam is not known here; give "),
            ({"optim.sgd.nesterov": True}, FLAGS, "F.json: optim.sgd.nesterov: true cannot be had here; "),
            ({"optim.group_method": "odd"}, FLAGS, "F.json: optim.group_method: odd is not known; "),
            ({"lr.lr_policy": "step"}, FLAGS, "F.json: lr.lr_policy: step cannot be had here; give --lr_policy "),
            ({"lr.metric": "epoch"}, FLAGS, "F.json: lr.metric: epoch: the schedule goes by iterations; "),
            ({"lr.is_warm": True}, FLAGS, "F.json: lr.warm.warm_iters: is missing; "),
            ({"test.mode": "ms_test_depth"}, FLAGS, "F.json: test.mode: ms_test_depth is not known; write one of ss_"),
            (
                {"network.loss_weights.seg_loss": 0},
                words_for("hrnet_w48_ocr", "fs_auxce_loss"),
                "F.json: network.loss_weights.aux_loss: 0.3 with a seg_loss of 0: ",
            ),
        ],
    )
    def test_each_has_its_place_and_a_fix(self, values: dict[str, Any], words: str, expected: str) -> None:
        (fault,) = [fault for fault in faults_of(street(**values), words) if expected in fault]
        assert "; " in fault

    def test_what_the_config_refuses_has_its_place_in_the_file(self) -> None:
        read = reading(street(**{"lr.base_lr": -1}), f"{FLAGS} --max_iters 0")
        assert read.origins["optim.lr"] == "F.json: lr.base_lr"
        assert read.origins["train.max_iters"] == "--max_iters 0"
        assert read.origins["loss.ce_weights"] == "F.json: loss.params.ce_weight"
        assert read.origins["contrast.min_pixels"] == "F.json: contrast.max_views"


class TestNotices:
    def test_keys_that_nothing_reads_are_named_in_one_line(self) -> None:
        (line,) = [notice for notice in notices_of(street()) if "nothing here reads" in notice]
        named = line.removeprefix("F.json: nothing here reads ").split(", ")
        for path in ("contrast.stride", "network.factors", "val.mode", "checkpoints", "logging", "solver.display_iter"):
            assert named.count(path) == 1
        used = ("data", "data.num_classes", "lr.base_lr", "method", "loss.params", "train.data_transformer.input_size")
        assert not set(used) & set(named)

    def test_a_misspelt_key_is_one_of_them(self) -> None:
        (line,) = [notice for notice in notices_of(street(**{"lr.bse_lr": 1})) if "nothing here reads" in notice]
        assert "lr.bse_lr" in line

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"data.input_mode": "BGR"}, "F.json: data.input_mode: BGR is kept"),
            ({"normalize.std": [1.0, 1.0, 1.0]}, "F.json: normalize: images are normalised by ImageNet's"),
            ({"network.multi_grid": [1, 2, 4]}, "F.json: network.multi_grid: [1, 2, 4] cannot be had here"),
            ({"train_trans.trans_seq": ["random_rotate"]}, "F.json: train_trans.trans_seq: random_rotate cannot be"),
            ({"train_trans.random_hflip.swap_pair": [[1, 2]]}, "F.json: train_trans.random_hflip.swap_pair: [[1, 2]]"),
            ({"train_trans.random_resize.ratio": 0.5}, "F.json: train_trans.random_resize.ratio: 0.5 cannot be had"),
            ({"train.data_transformer.input_size": [99, 99]}, "F.json: train.data_transformer.input_size: [99, 99]"),
            ({"loss.params.rmi_radius": 5}, "F.json: loss.params.rmi_radius: 5 cannot be had here; it is 3"),
            ({"contrast.with_memory": True}, "F.json: contrast.with_memory: true counts, though hrnet_w48_contrast"),
            ({"data.include_val": True}, "F.json: data.include_val: true cannot be had here; only the folder train is"),
            ({"data.label_edge2void": True}, "F.json: data.label_edge2void: true cannot be had here; labels are used"),
            ({"network.resume": "c.pth"}, "F.json: network.resume: c.pth cannot be had here; the training begins anew"),
            ({"val_trans.trans_seq": ["resize"]}, 'F.json: val_trans.trans_seq: ["resize"] cannot be had here'),
            ({"train_trans.random_resize.max_side_bound": 99}, "F.json: train_trans.random_resize.max_side_bound: 99"),
            ({"train_trans.shuffle_trans_seq": ["random_hue"]}, "F.json: train_trans.shuffle_trans_seq: random_hue c"),
            (
                {"train_trans.shuffle_trans_seq": [["random_hflip"], ["random_brightness"]]},
                "F.json: train_trans.shuffle_trans_seq: the original draws one of these lists",
            ),
            (
                {"train_trans.trans_seq": ["random_crop", "random_resize"]},
                "F.json: train_trans.trans_seq: random_crop comes before random_resize",
            ),
            (
                {"train.data_transformer.size_mode": "max_size"},
                "F.json: train.data_transformer.size_mode: max_size can",
            ),
            ({"train.data_transformer.fit_stride": 40}, "F.json: train.data_transformer.fit_stride: crops are padded"),
            (
                {"train.data_transformer.align_method": "only_scale"},
                "F.json: train.data_transformer.align_method: only_scale acts on crops, since random_crop is in",
            ),
            (
                {"val.data_transformer": {"size_mode": "fix_size", "input_size": [9, 8], "align_method": "only_scale"}},
                "F.json: val.data_transformer.align_method: the original scales every image to [9, 8]",
            ),
            ({"test.mode": "ms_test"}, "F.json: test.mode: every report of the training is scored by ms_test too"),
        ],
    )
    def test_what_cannot_be_had_is_said(self, values: dict[str, Any], expected: str) -> None:
        assert [notice.startswith(expected) for notice in notices_of(street(**values))].count(True) == 1
        if values != {"data.input_mode": "BGR"}:
            assert not [notice for notice in notices_of(street()) if notice.startswith(expected)]

    def test_contrast_that_the_loss_does_not_have_is_said(self) -> None:
        words = words_for("hrnet_w48", "fs_ce_loss")
        assert "--loss_type fs_ce_loss: fs_ce_loss has no contrast: it is switched off" in notices_of(street(), words)
        assert not [n for n in notices_of(street(contrast=None), words) if "contrast" in n]


class TestFlags:
    def test_a_line_of_the_original_scripts(self) -> None:
        words = (
            "--configs c.json --drop_last y --phase train --gathered n --loss_balance y --log_to_file n "
            "--backbone hrnet48 --model_name hrnet_w48_mem --gpu 0 1 2 3 --data_dir d --max_iters 100 "
            "--loss_type mem_contrast_ce_loss --train_batch_size 8 --checkpoints_root r --checkpoints_name n "
            "--pretrained p --distributed --base_lr 0.01"
        )
        flags = read_flags(words.split(), Path("/cwd"))
        assert not flags.faults
        assert not flags.rest
        assert {given.path: given.value for given in flags.given} == {
            "network.backbone": "hrnet48",
            "network.model_name": "hrnet_w48_mem",
            "data.data_dir": "/cwd/d",
            "loss.loss_type": "mem_contrast_ce_loss",
            "solver.max_iters": 100,
            "train.batch_size": 8,
            "network.pretrained": "/cwd/p",
            "lr.base_lr": 0.01,
        }
        assert (flags.phase, flags.resume, flags.asks_for_evaluation) == ("train", None, False)
        assert " ".join(flags.passed_over) == (
            "--configs --drop_last --gathered --loss_balance --log_to_file --gpu --checkpoints_root "
            "--checkpoints_name --distributed"
        )

    @pytest.mark.parametrize(
        ("words", "rest"),
        [
            ("--gpu 0 1 optim.lr 0.1", "optim.lr 0.1"),
            ("optim.lr 0.1 --gpu 0 1", "optim.lr 0.1"),
            ("--gpu 0 --drop_last contrast.max_views -1", "contrast.max_views -1"),
            ("--distributed optim.lr 0.1 --drop_last y train.seed 1", "optim.lr 0.1 train.seed 1"),
            ("--base_lr=0.1 optim.lr 0.1", "optim.lr 0.1"),
        ],
    )
    def test_pairs_between_flags_stay_pairs(self, words: str, rest: str) -> None:
        flags = read_flags(words.split(), Path())
        assert (" ".join(flags.rest), flags.faults) == (rest, ())

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (
                "--modelname x",
                "--modelname: is neither an option here nor a flag of the original trainer; did you mean",
            ),
            ("--zzz x y", "--zzz: is neither an option here nor a flag of the original trainer; --help lists"),
            ("--base_lr", "--base_lr: has no value after it; write --base_lr and a value"),
            ("--base_lr --gpu 0", "--base_lr: has no value after it; write --base_lr and a value"),
            ("--base_lr fast", "--base_lr fast: fast is no number; give one"),
            ("--max_iters 1e3", "--max_iters 1e3: 1e3 is no whole number; give one"),
            ("--is_warm=maybe", "--is_warm maybe: maybe is neither yes nor no; give y or n"),
        ],
    )
    def test_faults(self, words: str, expected: str) -> None:
        flags = read_flags(words.split(), Path())
        assert len(flags.faults) == 1
        assert str(flags.faults[0]).startswith(expected)
        assert not flags.rest

    @pytest.mark.parametrize(
        ("words", "tasks", "evaluates"),
        [
            ("", (), False),
            ("--phase train", (), False),
            ("--phase test --resume c", ("--phase", "--resume"), True),
            ("--phase test", ("--phase",), True),
            ("--resume c", ("--resume",), True),
            ("--resume c --resume_continue n", ("--resume",), True),
            ("--resume c --resume_continue y", ("--resume", "--resume_continue"), False),
        ],
    )
    def test_the_tasks_of_the_original(self, words: str, tasks: tuple[str, ...], evaluates: bool) -> None:
        flags = read_flags(words.split(), Path("/cwd"))
        assert (flags.tasks, flags.asks_for_evaluation, flags.passed_over) == (tasks, evaluates, ())

    def test_switches(self) -> None:
        for word, value in (("y", True), ("True", True), ("1", True), ("n", False), ("0", False), ("", True)):
            (given,) = read_flags(["--is_warm", *([word] if word else [])], Path()).given
            assert given.value is value

    def test_a_place_that_names_a_file_is_made_absolute(self) -> None:
        assert given_at("t", "data.data_dir", "d", Path("/w")) == Given("t", "data.data_dir", "/w/d")
        assert given_at("t", "loss.loss_type", "d", Path("/w")).value == "d"

    def test_places_of_the_dialect(self) -> None:
        for path in ("lr.base_lr", "solver.max_iters", "contrast.with_memory", "test.crop_size", "lr.nbb_mult"):
            assert has_place({}, path)
        assert has_place({"lr": {"step": 1}}, "lr.step")
        for path in ("lr", "lr.bse_lr", "lr.step"):
            assert not has_place({"lr": {"base_lr": 1}}, path)


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
        basis = [
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
