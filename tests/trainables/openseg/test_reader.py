from collections.abc import Mapping
from typing import Any

import pytest

from tests.trainables.openseg.files import FITTING, FLAGS, changed, config_of, leaves, reading, scene, street, words_for
from trainables.config import Config
from trainables.openseg.reader import has_place, read_openseg


def faults_of(document: Mapping[str, Any], words: str = FLAGS) -> list[str]:
    return [str(fault) for fault in reading(document, words).faults]


def notices_of(document: Mapping[str, Any], words: str = FLAGS) -> list[str]:
    return list(reading(document, words).notices)


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
        assert "F.json: data.num_classes: 19 classes, but data.label_list makes 3: training uses 3" in notices


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
        start = f"--loss_type {loss}: {loss} needs a network with {needs}, but {model} is another kind; "
        start += "give --loss_type, one "
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
        missing = any(f"{backbone} does not exist here" in notice for notice in notices_of(street(), words))
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
            assert fault.startswith(f"F.json: network.model_name: {name} is a placeholder for the network that ")
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
                "F.json: network.backbone: deepbase_resnet101_dilated8 is not an HRNet, which hrnet_w48 needs; "
                "give --backbone, one of hrnet18, hrnet32, hrnet48, hrnet64",
            ),
            (
                {},
                "--model_name deeplab_v3 --backbone hrnet48",
                "--backbone hrnet48: hrnet48 is not a ResNet, which deeplab_v3 needs; give --backbone, such as ",
            ),
            ({"network.backbone": None}, "--model_name deeplab_v3", "F.json: network.backbone: is missing; "),
            ({}, f"{FLAGS} --loss_type fs_auxceloss", "fs_auxceloss is not known; did you mean fs_auxce_loss? Valid"),
            (
                {"data.label_class_ids": [1, 2, 3]},
                FLAGS,
                "F.json: data.label_list: is the older name of data.label_class_ids",
            ),
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
            (
                {"loss.params.ce_reduction": "sum"},
                FLAGS,
                "F.json: loss.params.ce_reduction: sum: losses are always averaged",
            ),
            ({"data.ce_weight": [1, 2, 3]}, FLAGS, "F.json: data.ce_weight: differs from loss.params.ce_weight; "),
            ({"contrast": None}, FLAGS, "F.json: contrast: is missing; add the section with loss_weight, proj_dim, "),
            ({"contrast.temperature": None}, FLAGS, "F.json: contrast.temperature: is missing; "),
            ({"contrast": 3}, FLAGS, "F.json: contrast: 3 must be a mapping; "),
            ({"optim.optim_method": "adam"}, FLAGS, "F.json: optim.optim_method: adam is not known here; give "),
            ({"optim.sgd.nesterov": True}, FLAGS, "F.json: optim.sgd.nesterov: true is not supported here; "),
            ({"optim.group_method": "odd"}, FLAGS, "F.json: optim.group_method: odd is not known; "),
            ({"lr.lr_policy": "step"}, FLAGS, "F.json: lr.lr_policy: step is not supported here; give --lr_policy "),
            ({"lr.metric": "epoch"}, FLAGS, "F.json: lr.metric: epoch: the schedule counts iterations; "),
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
        (line,) = [notice for notice in notices_of(street()) if "ignored, because nothing uses them here:" in notice]
        named = line.removeprefix("F.json: ignored, because nothing uses them here: ").split(", ")
        for path in ("contrast.stride", "network.factors", "val.mode", "checkpoints", "logging", "solver.display_iter"):
            assert named.count(path) == 1
        used = ("data", "data.num_classes", "lr.base_lr", "method", "loss.params", "train.data_transformer.input_size")
        assert not set(used) & set(named)

    def test_a_misspelt_key_is_one_of_them(self) -> None:
        (line,) = [notice for notice in notices_of(street(**{"lr.bse_lr": 1})) if "because nothing uses them" in notice]
        assert "lr.bse_lr" in line

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ({"data.input_mode": "BGR"}, "F.json: data.input_mode: BGR is kept"),
            ({"normalize.std": [1.0, 1.0, 1.0]}, "F.json: normalize: images are normalised by ImageNet's"),
            ({"network.multi_grid": [1, 2, 4]}, "F.json: network.multi_grid: [1, 2, 4] is not supported here"),
            (
                {"train_trans.trans_seq": ["random_rotate"]},
                "F.json: train_trans.trans_seq: random_rotate is not supported here",
            ),
            ({"train_trans.random_hflip.swap_pair": [[1, 2]]}, "F.json: train_trans.random_hflip.swap_pair: [[1, 2]]"),
            ({"train_trans.random_resize.ratio": 0.5}, "F.json: train_trans.random_resize.ratio: 0.5 is not supported"),
            ({"train.data_transformer.input_size": [99, 99]}, "F.json: train.data_transformer.input_size: [99, 99]"),
            ({"loss.params.rmi_radius": 5}, "F.json: loss.params.rmi_radius: 5 is not supported here; it is 3"),
            ({"contrast.with_memory": True}, "F.json: contrast.with_memory: true counts, though hrnet_w48_contrast"),
            (
                {"data.include_val": True},
                "F.json: data.include_val: true is not supported here; only the folder train is",
            ),
            (
                {"data.label_edge2void": True},
                "F.json: data.label_edge2void: true is not supported here; labels are used",
            ),
            (
                {"network.resume": "c.pth"},
                "F.json: network.resume: c.pth is not supported here; training starts from the beginning",
            ),
            ({"val_trans.trans_seq": ["resize"]}, 'F.json: val_trans.trans_seq: ["resize"] is not supported here'),
            ({"train_trans.random_resize.max_side_bound": 99}, "F.json: train_trans.random_resize.max_side_bound: 99"),
            (
                {"train_trans.shuffle_trans_seq": ["random_hue"]},
                "F.json: train_trans.shuffle_trans_seq: random_hue is not",
            ),
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
                "F.json: train.data_transformer.size_mode: max_size is not supported",
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
        assert "--loss_type fs_ce_loss: fs_ce_loss has no contrast, so contrast is switched off" in notices_of(
            street(), words
        )
        assert not [n for n in notices_of(street(contrast=None), words) if "contrast" in n]


class TestHasPlace:
    def test_places_of_the_dialect(self) -> None:
        for path in ("lr.base_lr", "solver.max_iters", "contrast.with_memory", "test.crop_size", "lr.nbb_mult"):
            assert has_place({}, path)
        assert has_place({"lr": {"step": 1}}, "lr.step")
        for path in ("lr", "lr.bse_lr", "lr.step"):
            assert not has_place({"lr": {"base_lr": 1}}, path)
