"""Tests of the config's rules, and tests that each of its options changes a training."""

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import BaseModel, ValidationError

from tests.trainables.tiny import remaining_reports, tiny
from trainables.config import Config
from trainables.data import draw_split
from trainables.dotted_paths import with_values
from trainables.errors import InputError
from trainables.losses import cross_entropy_weights
from trainables.models import build_model
from trainables.preflight import preflight
from trainables.protocol import HasSeed
from trainables.trainer import Trainer

EVERYTHING_USED = {
    "contrast.memory": True,
    "contrast.memory_size": 3,
    "contrast.pixel_update_freq": 2,
    "contrast.max_samples": 96,
    "loss.ce_weight_power": 0.5,
    "optim.lr": 0.05,
    "evaluation.mode": "mscrop",
    "evaluation.scales": [0.75, 1.0],
    "evaluation.crop_size": [24, 24],
    "train.max_iters": 4,
    "train.batch_size": 6,
    "train.micro_batch_size": 3,
}
"""A config in which nearly all values are used."""

NEEDS: dict[str, dict[str, Any]] = {
    "loss.lovasz_coef": {"loss.segmentation": "ce_lovasz"},
    "loss.ohem_threshold": {"loss.segmentation": "ohem_ce", "loss.ohem_min_kept": 10},
    "loss.ohem_min_kept": {"loss.segmentation": "ohem_ce", "loss.ohem_threshold": 0.0},
    "loss.rmi_weight": {"loss.segmentation": "rmi"},
    "loss.aux_coef": {"model.head": "ocr"},
    "model.hrnet_fuse": {"model.backbone": "hrnet_w18_small"},
    "data.bit_depth": {"data.dir": "16 bits"},
    "train.shared_iters": {"train.shared_values": [["optim.lr", 0.01]]},
    "train.shared_values": {"train.shared_iters": 2},
}
"""Values that must be set besides `EVERYTHING_USED` for the other values to be used; `16 bits` is a test dataset."""

OTHER_VALUES: dict[str, Any] = {
    "data.drawn.num_train": 7,
    "data.drawn.num_val": 3,
    "data.drawn.size": [40, 48],
    "data.drawn.seed": 1,
    "data.label_class_ids": [0, 128, 74, 145],
    "data.reduce_zero_label": True,
    "data.input_mode": "BGR",
    "data.bit_depth": 12,
    "data.image_scale": 0.75,
    "data.num_images": 3,
    "data.augmentation.fit": "scale",
    "data.augmentation.padding": "center",
    "data.augmentation.scale": [0.5, 1.0],
    "data.augmentation.aspect": [0.5, 1.1],
    "data.augmentation.crop_size": [32, 40],
    "data.augmentation.flip": 0.0,
    "data.augmentation.brightness": 60.0,
    "model.backbone": "test_convnext",
    "model.output_stride": 8,
    "model.head_channels": 4,
    "model.dropout": 0.5,
    "model.head": "ocr",
    "model.hrnet_fuse": "bilinear",
    "loss.segmentation": "lovasz",
    "loss.ce_coef": 0.5,
    "loss.combination": "product",
    "loss.lovasz_coef": 0.5,
    "loss.aux_coef": 0.1,
    "loss.ohem_threshold": 0.3,
    "loss.ohem_min_kept": 500,
    "loss.rmi_weight": 0.1,
    "loss.ce_weights": "one_minus_frequency",
    "loss.ce_weight_power": 1.0,
    "contrast.loss_weight": 1.0,
    "contrast.temperature": 0.2,
    "contrast.base_temperature": 0.2,
    "contrast.strategy": "all_cases",
    "contrast.replacement": True,
    "contrast.max_keys": 100,
    "contrast.max_positives": 1,
    "contrast.negative_ratio": 1.0,
    "contrast.max_samples": 16,
    "contrast.max_views": 2,
    "contrast.min_pixels": 12,
    "contrast.proj_dim": 4,
    "contrast.warmup_iters": 1,
    "contrast.memory": False,
    "contrast.memory_size": 1,
    "contrast.pixel_update_freq": 1,
    "optim.name": "adamw",
    "optim.lr": 0.01,
    "optim.nbb_mult": 2.0,
    "optim.momentum": 0.5,
    "optim.weight_decay": 0.1,
    "optim.decay_norm_and_bias": False,
    "optim.poly_power": 0.5,
    "optim.warmup_iters": 2,
    "evaluation.mode": "sscrop",
    "evaluation.scales": [1.0, 1.5],
    "evaluation.flip": True,
    "evaluation.crop_size": [16, 32],
    "evaluation.num_images": 2,
    "train.seed": 1,
    "train.max_iters": 5,
    "train.report_iters": 1,
    "train.batch_size": 5,
    "train.micro_batch_size": 2,
    "train.freeze_norm": True,
    "train.ema_decay": 0.7,
    "train.precision": "bf16",
    "train.shared_iters": 1,
    "train.shared_values": [["optim.lr", 0.01]],
}
"""Another value of every option that changes a training or its score; `data.dir` and `model.weights` are files."""

CHANGES_NO_NUMBER: dict[str, Any] = {
    "data.class_names": ["ground", "striped", "dotted", "cross"],
    "data.workers": 1,
    "evaluation.batch_size": 1,
}

HELD_ELSEWHERE = {"train.device", "train.num_threads"}
"""Options of the machine, tested in `test_trainer.py`."""


def leaf_paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaf_paths(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


PATHS = list(leaf_paths(Config))
CHOICES = [
    (f"{section}.{name}", value)
    for section, field in Config.model_fields.items()
    for name, below in field.annotation.model_fields.items()  # type: ignore[union-attr]
    for value in get_args(below.annotation)
    if isinstance(value, str) and section != "train"
]
"""Every word of every option that is a choice of words, except those of the machine."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Provide the values that are files: a dataset, and weights of the backbone."""
    folder = tmp_path_factory.mktemp("files")
    config = tiny({"data.drawn.seed": 5})
    for split in ("train", "val"):
        for i, (image, label) in enumerate(zip(*draw_split(config.data.drawn, split), strict=True)):
            for part, pixels in (("image", image), ("label", label)):
                (folder / split / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / split / part / f"{i}.png")
                (folder / "16 bits" / split / part).mkdir(parents=True, exist_ok=True)
                deep = pixels[..., 0].astype(np.uint16) * 16 if part == "image" else pixels
                Image.fromarray(deep).save(folder / "16 bits" / split / part / f"{i}.png")
    backbone = build_model(config.model, 4, None, seed=5).backbone.network
    torch.save(backbone.state_dict(), folder / "backbone.pt")
    return {"data.dir": str(folder), "model.weights": str(folder / "backbone.pt")}


def needs(path: str, files: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of `NEEDS` with the path of the dataset instead of its name."""
    return {
        name: f"{files[name]}/{value}" if name == "data.dir" else value for name, value in NEEDS.get(path, {}).items()
    }


def outcome(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the reports of a training, from the batches and losses to the score."""
    return remaining_reports(Trainer(tiny(values)))


@lru_cache
def base_outcome(needed: str) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    return outcome({**EVERYTHING_USED, **json.loads(needed)})


class TestEveryOption:
    def test_is_in_one_of_the_tables(self, files: dict[str, Any]) -> None:
        assert sorted([*OTHER_VALUES, *CHANGES_NO_NUMBER, *HELD_ELSEWHERE, *files]) == sorted(PATHS)

    @pytest.mark.parametrize("path", [path for path in PATHS if path not in CHANGES_NO_NUMBER.keys() | HELD_ELSEWHERE])
    def test_changes_a_training(self, path: str, files: dict[str, Any]) -> None:
        others, needed = {**OTHER_VALUES, **files}, needs(path, files)
        assert path in others, f"{path} has no other value in these tables"
        assert path not in tiny({**EVERYTHING_USED, **needed}).unused()
        assert outcome({**EVERYTHING_USED, **needed, path: others[path]}) != base_outcome(json.dumps(needed))

    @pytest.mark.parametrize(("path", "value"), CHOICES)
    def test_every_choice_trains(self, path: str, value: str, files: dict[str, Any]) -> None:
        needed = needs(path, files)
        if value == "deeplab_v3":
            needed = {"model.backbone": "test_resnet", "model.output_stride": 8}
        reports = outcome({**EVERYTHING_USED, **needed, path: value})
        assert all(math.isfinite(report["loss"]) for report in reports)

    @pytest.mark.parametrize("path", CHANGES_NO_NUMBER)
    def test_of_convenience_changes_no_number(self, path: str) -> None:
        assert outcome({**EVERYTHING_USED, path: CHANGES_NO_NUMBER[path]}) == base_outcome("{}")


CONTRAST_VALUES = {path for path in PATHS if path.startswith("contrast.")} - {"contrast.loss_weight"}
LOSS_VALUES = {path for path in PATHS if path.startswith("loss.")} - {"loss.ce_coef", "loss.combination"}


class TestUnused:
    def test_nothing_where_everything_is_used(self) -> None:
        assert tiny(EVERYTHING_USED).unused().keys() == NEEDS.keys()

    @pytest.mark.parametrize(
        ("gate", "value", "expected"),
        [
            ("contrast.loss_weight", 0.0, {*CONTRAST_VALUES, "loss.combination"}),
            ("contrast.memory", False, {"contrast.memory_size", "contrast.pixel_update_freq"}),
            ("loss.ce_weight_power", 0.0, {"loss.ce_weights"}),
            ("loss.ce_coef", 0.0, LOSS_VALUES),
            ("loss.segmentation", "lovasz", {"loss.ce_weights", "loss.ce_weight_power"}),
            ("train.batch_size", 2, {"train.micro_batch_size"}),
            (
                "data.augmentation.fit",
                "scale",
                {f"data.augmentation.{name}" for name in ("scale", "aspect", "padding")},
            ),
            ("data.augmentation.fit", "scale_and_pad", {"data.augmentation.scale", "data.augmentation.aspect"}),
            ("optim.name", "adamw", {"optim.momentum"}),
            ("evaluation.mode", "ss", {"evaluation.scales", "evaluation.crop_size"}),
            ("evaluation.mode", "sscrop", {"evaluation.scales"}),
            ("evaluation.mode", "ms", {"evaluation.crop_size"}),
            ("data.dir", None, {"data.drawn"}),
        ],
    )
    def test_values_behind_a_gate_change_nothing(
        self, gate: str, value: Any, expected: set[str], files: dict[str, Any]
    ) -> None:
        closed = {**EVERYTHING_USED, gate: files.get(gate, value)}
        unused = tiny(closed).unused()
        assert unused.keys() == expected | NEEDS.keys() - ({"data.bit_depth"} if gate == "data.dir" else set())
        assert all(gate in unused[path] for path in expected)

        behind = [path for path in PATHS if any(f"{path}.".startswith(f"{named}.") for named in unused)]
        assert behind
        # `train.shared_iters` and `train.shared_values` are gates of each other.
        others = {path: OTHER_VALUES[path] for path in behind if path in OTHER_VALUES.keys() - {"train.shared_iters"}}
        trained = [Trainer(tiny(values)) for values in (closed, {**closed, **others})]
        # The cross entropy is still reported if it is not part of the loss.
        ignored = {"loss_segmentation"} if gate == "loss.ce_coef" else set()
        reports, other_reports = (
            [{key: report[key] for key in report.keys() - ignored} for report in remaining_reports(trainer)]
            for trainer in trained
        )
        assert reports == other_reports

    def test_shared_values_that_are_the_own_ones_change_nothing(self) -> None:
        own = {**EVERYTHING_USED, "train.shared_iters": 2, "train.shared_values": [["optim.lr", 0.05]]}
        assert tiny(own).unused().keys() == NEEDS.keys()
        assert outcome(own) == base_outcome("{}")
        assert not {"train.shared_iters", "train.shared_values"} & tiny({**own, "optim.lr": 0.1}).unused().keys()

    def test_the_combination_with_a_contrast_that_never_starts(self) -> None:
        assert "loss.combination" in tiny({"contrast.warmup_iters": 6, "train.max_iters": 6}).unused()
        assert "loss.combination" not in tiny({"contrast.warmup_iters": 5, "train.max_iters": 6}).unused()

    def test_the_fewest_pixels_kept_where_the_threshold_keeps_all(self) -> None:
        values = {"loss.segmentation": "ohem_ce", "loss.ohem_threshold": 1.0}
        assert "loss.ohem_min_kept" in tiny(values).unused()
        reports = [outcome({**values, "loss.ohem_min_kept": kept}) for kept in (1, 2000)]
        assert reports[0] == reports[1]


class TestClassWeights:
    @pytest.mark.parametrize(
        ("given", "same"),
        [
            ({}, {"loss.ce_weight_power": 0.0}),
            ({"loss.ce_weights": [1, 5, 10, 10]}, {"loss.ce_weights": [1, 5, 10, 10], "loss.ce_weight_power": 1.0}),
            ({"loss.ce_weights": [1, 4, 9, 9], "loss.ce_weight_power": 0.5}, {"loss.ce_weights": [1, 2, 3, 3]}),
            ({"loss.ce_weights": [1, 5, 10, 10], "loss.ce_weight_power": 0.0}, {}),
            ({"loss.ce_weights": "inverse_log"}, {"loss.ce_weights": "inverse_log", "loss.ce_weight_power": 1.0}),
            ({"loss.ce_weight_power": 0.5}, {"loss.ce_weights": "max_over_count", "loss.ce_weight_power": 0.5}),
        ],
    )
    def test_what_list_scheme_and_power_mean(self, given: dict[str, Any], same: dict[str, Any]) -> None:
        counts = [50, 30, 15, 5]
        found, expected = (cross_entropy_weights(tiny(values).loss, counts) for values in (given, same))
        ones = np.ones(4)
        np.testing.assert_array_equal(ones if found is None else found, ones if expected is None else expected)

    def test_a_list_trains_as_it_is_given(self) -> None:
        weighted = outcome({"loss.ce_weights": [1, 5, 10, 10]})
        assert weighted == outcome({"loss.ce_weights": [1, 5, 10, 10], "loss.ce_weight_power": 1.0})
        assert weighted != outcome({})

    def test_weights_of_0_for_all_that_is_labelled_are_found_beforehand(self) -> None:
        values = {"data.label_class_ids": [0, 74, 128, 99], "loss.ce_weights": [0, 0, 0, 1]}
        with pytest.raises(
            InputError, match=r"loss\.ce_weights: ce_weights = .* gives weight 0 to every class that has"
        ):
            preflight(tiny(values))
        preflight(tiny({**values, "loss.ce_weights": [0, 0, 1, 1]}))


def refused(values: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        tiny(values)
    return str(caught.value)


class TestRules:
    def test_no_value_needs_to_be_given(self) -> None:
        assert Config() == Config.model_validate({})
        assert Config().data.num_classes == 4

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("optim.learning_rate", 0.1),
            ("train.iterations", 5),
            ("data.drawn.colour", 1),
            ("contrast.with_memory", True),
            ("contrasts.memory", True),
        ],
    )
    def test_unknown_keys_are_refused(self, path: str, value: Any) -> None:
        assert "Extra inputs are not permitted" in refused({path: value})

    @pytest.mark.parametrize("section", ["data", "model", "loss", "contrast", "optim", "evaluation", "train"])
    def test_values_cannot_be_set_afterwards(self, section: str) -> None:
        config = Config()
        part = getattr(config, section)
        name = next(iter(type(part).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, getattr(part, name))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, section, part)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("data.drawn.num_train", 0),
            ("data.drawn.size", [0, 48]),
            ("data.drawn.size", [32]),
            ("data.label_class_ids", []),
            ("data.label_class_ids", [0, 256]),
            ("data.label_class_ids", [-1, 3]),
            ("data.input_mode", "GRAY"),
            ("data.image_scale", 0.0),
            ("data.image_scale", 4.5),
            ("data.augmentation.scale", [0.0, 1.0]),
            ("data.augmentation.flip", 1.5),
            ("data.augmentation.brightness", -1.0),
            ("data.augmentation.crop_size", [32.5, 32]),
            ("data.workers", -1),
            ("data.num_images", 0),
            ("model.output_stride", 3),
            ("model.head_channels", 0),
            ("model.dropout", 1.0),
            ("loss.ce_coef", -0.1),
            ("loss.ce_weights", "frequency"),
            ("loss.ce_weights", [1.0, -1.0, 1.0, 1.0]),
            ("loss.ce_weights", [1.0, float("nan"), 1.0, 1.0]),
            ("data.augmentation.fit", "pad"),
            ("data.augmentation.padding", "left"),
            ("loss.segmentation", "dice"),
            ("loss.combination", "difference"),
            ("loss.ohem_threshold", 1.5),
            ("contrast.max_keys", -1),
            ("contrast.max_positives", 0),
            ("contrast.negative_ratio", 0.0),
            ("train.micro_batch_size", 0),
            ("train.ema_decay", 1.0),
            ("loss.ce_weight_power", 2.5),
            ("contrast.temperature", 0.0),
            ("contrast.base_temperature", 0.0),
            ("contrast.loss_weight", -1.0),
            ("contrast.strategy", "random"),
            ("contrast.max_views", 0),
            ("contrast.memory", "maybe"),
            ("contrast.memory_size", 0),
            ("contrast.warmup_iters", -1),
            ("optim.name", "adam"),
            ("optim.lr", 0.0),
            ("optim.lr", float("nan")),
            ("optim.lr", float("inf")),
            ("optim.momentum", 1.0),
            ("optim.poly_power", -0.1),
            ("evaluation.mode", "crop"),
            ("evaluation.scales", [1.0, 0.0]),
            ("evaluation.batch_size", 0),
            ("train.seed", -1),
            ("train.max_iters", 0),
            ("train.num_threads", 0),
            ("train.device", "tpu"),
            ("train.precision", "fp16"),
        ],
    )
    def test_values_out_of_range_are_refused(self, path: str, value: Any) -> None:
        assert path in refused({path: value})

    @pytest.mark.parametrize(
        ("values", "rule"),
        [
            ({"data.label_class_ids": [0, 7, 0, 7, 9]}, r"label_class_ids lists [0, 7] more than once"),
            ({"data.label_class_ids": [0, 255]}, "label_class_ids contains 255, which always means ignore"),
            ({"data.label_class_ids": [3]}, "label_class_ids = [3] leaves 1 class; at least 2 are needed"),
            (
                {"data.label_class_ids": [3, 4], "data.reduce_zero_label": True},
                "label_class_ids = [3, 4] leaves 1 class; at least 2 are needed",
            ),
            ({"data.class_names": ["a", "b"]}, "class_names has 2 entries for 4 classes"),
            (
                {"data.class_names": ["a", "b", "c", "b"]},
                "class_names calls both class 1 and class 3 'b'; give each class a different name",
            ),
            (
                {"data.class_names": list("abcd"), "data.reduce_zero_label": True},
                "class_names has 4 entries for 3 classes",
            ),
            ({"loss.ce_weights": [1, 2, 3]}, "loss.ce_weights has 3 numbers for the 4 classes of data.label_class_ids"),
            (
                {"loss.ce_weights": [1, 2, 3, 4], "data.reduce_zero_label": True},
                "loss.ce_weights has 4 numbers for the 3 classes of data.label_class_ids",
            ),
            ({"loss.ce_weights": [0, 0, 0, 0]}, "ce_weights = [0.0, 0.0, 0.0, 0.0] gives every class weight 0, so the"),
            (
                {"loss.ce_coef": 0.0, "contrast.warmup_iters": 6},
                "loss.ce_coef is 0 and contrast.warmup_iters is not below train.max_iters; nothing would be trained",
            ),
            ({"data.augmentation.scale": [2.0, 0.5]}, "scale = (2, 0.5) must be in ascending order: write (0.5, 2)"),
            (
                {"data.augmentation.aspect": [1.1, 0.9]},
                "aspect = (1.1, 0.9) must be in ascending order: write (0.9, 1.1)",
            ),
            ({"train.report_iters": 7}, "report_iters = 7 is larger than max_iters = 6; write a smaller one"),
            ({"loss.ce_coef": 0.0, "contrast.loss_weight": 0.0}, "nothing would be trained"),
            ({"loss.ce_coef": 0.0, "loss.combination": "product"}, "their product trains nothing"),
            ({"model.head": "deeplab_v3", "model.output_stride": 4}, "output_stride = 4 is too fine for deeplab_v3"),
        ],
    )
    def test_values_that_contradict_one_another_are_named(self, values: dict[str, Any], rule: str) -> None:
        assert rule in refused(values)

    def test_reporting_once_at_the_end_is_allowed(self) -> None:
        assert tiny({"train.report_iters": 6}).train.report_iters == 6

    def test_label_list_is_another_name_of_label_class_ids(self) -> None:
        assert tiny({"data.label_list": [5, 6, 7]}).data.label_class_ids == (5, 6, 7)
        assert tiny({"data.label_class_ids": [5, 6, 7]}).data.label_class_ids == (5, 6, 7)

    def test_k_plus_one_ids_make_k_classes_with_reduce_zero_label(self) -> None:
        ids = list(range(172))
        assert tiny({"data.label_class_ids": ids}).data.num_classes == 172
        assert tiny({"data.label_class_ids": ids, "data.reduce_zero_label": True}).data.num_classes == 171

    @pytest.mark.parametrize("values", [{}, EVERYTHING_USED, {**OTHER_VALUES, "loss.ce_weights": [0.1, 1.0, 3.0]}])
    def test_json_brings_the_same_config_back(self, values: dict[str, Any], files: dict[str, Any]) -> None:
        config = tiny({**values, **(files if values else {})})
        text = json.dumps(config.model_dump(mode="json"))
        assert Config.model_validate(json.loads(text)) == config
        assert Config.model_validate_json(text) == config
        assert hash(Config.model_validate_json(text)) == hash(config)


class TestWhatASearchAsks:
    def test_budget_and_warm_up(self) -> None:
        config = tiny({"contrast.warmup_iters": 4})
        assert (config.max_iters(), config.warmup_end()) == (6, 4)
        assert tiny({"contrast.warmup_iters": 4, "contrast.loss_weight": 0.0}).warmup_end() == 0

    def test_threads_are_filled_in_only_where_they_were_left_open(self) -> None:
        config = tiny()
        assert config.with_threads(3) == tiny({"train.num_threads": 3})
        assert config.train.num_threads is None
        assert tiny({"train.num_threads": 2}).with_threads(3).train.num_threads == 2

    def test_a_seed_replaces_the_one_that_is_there_and_nothing_else(self) -> None:
        config = tiny({"train.seed": 3, "optim.lr": 0.5})
        assert isinstance(config, HasSeed)
        assert config.with_seed(8) == tiny({"train.seed": 8, "optim.lr": 0.5})
        assert config.train.seed == 3


LARGER = {
    "train.batch_size": 16,
    "train.micro_batch_size": 4,
    "data.augmentation.crop_size": (128, 96),
    "data.label_class_ids": (0, 1, 2, 3, 4, 5),
    "contrast.max_samples": 4096,
    "contrast.max_keys": 4096,
    "contrast.proj_dim": 128,
    "contrast.memory": True,
}
"""Values that need more memory than a config with parts of 2 images and defaults otherwise."""


@pytest.mark.parametrize("path", LARGER)
def test_the_memory_estimate_grows_with_what_takes_memory(path: str) -> None:
    parts = {"train.micro_batch_size": 2}
    name, small = Config.model_validate(with_values({}, parts)).memory_estimate()
    larger = Config.model_validate(with_values({}, {**parts, path: LARGER[path]})).memory_estimate()
    assert larger[0] == name
    assert larger[1] > small


def test_the_memory_estimate_counts_the_images_at_once_and_leaves_out_what_is_not_used() -> None:
    """A batch of 8 crops of 96 x 96: 500 floats per pixel, 2 * 4 classes at stride 4."""
    config = Config.model_validate({"contrast": {"loss_weight": 0.0, "max_samples": 9999}})
    assert config.memory_estimate()[1] == 4 * (8 * 96 * 96 * 500 + 2 * 8 * 24 * 24 * 4)
    names = {Config.model_validate({"model": {"output_stride": stride}}).memory_estimate()[0] for stride in (4, 8)}
    assert len(names) == 2, "a network at another stride has a scale of its own"


def test_the_numbers_of_a_reported_iou_have_the_names_of_the_classes() -> None:
    assert Config().metric_entries() == {"iou": ("0", "1", "2", "3")}
    data = {"label_class_ids": [0, 7, 9], "reduce_zero_label": True, "class_names": ["a", "b"]}
    assert Config.model_validate({"data": data}).metric_entries() == {"iou": ("a", "b")}


def test_files_are_marked_as_such_for_who_resolves_paths() -> None:
    marked = {
        f"{section}.{name}"
        for section, field in Config.model_fields.items()
        for name, below in field.annotation.model_fields.items()  # type: ignore[union-attr]
        if isinstance(below.json_schema_extra, dict) and below.json_schema_extra.get("path") is True
    }
    assert marked == {"data.dir", "model.weights"}
