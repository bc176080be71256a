"""Tests of the check that needs the network: batch norms that would get one value per channel."""

from typing import Any

import pytest

from tests.trainables.tiny import tiny
from trainables.config import Config
from trainables.errors import InputError
from trainables.preflight import check_batch, preflight
from trainables.trainer import Trainer

CASES: list[tuple[dict[str, Any], bool]] = [
    ({"train.batch_size": 1}, True),
    ({"train.batch_size": 1, "data.augmentation.crop_size": [8, 24]}, True),
    ({"train.batch_size": 1, "data.augmentation.crop_size": [32, 33]}, False),
    ({"train.batch_size": 1, "data.augmentation.crop_size": [64, 32]}, False),
    ({"train.batch_size": 1, "train.freeze_norm": True}, False),
    ({"train.batch_size": 2}, False),
    ({"train.batch_size": 3, "train.micro_batch_size": 2}, True),
    ({"train.batch_size": 4, "train.micro_batch_size": 2}, False),
    ({"train.batch_size": 4, "train.micro_batch_size": 3}, False),
    ({"train.batch_size": 4, "train.micro_batch_size": 1}, True),
    ({"train.batch_size": 2, "train.shared_iters": 2, "train.shared_values": [["train.batch_size", 1]]}, True),
    ({"train.batch_size": 1, "model.head": "ocr"}, True),
    ({"train.batch_size": 1, "model.backbone": "test_resnet"}, True),
    ({"train.batch_size": 1, "model.backbone": "test_resnet", "model.head": "deeplab_v3"}, False),
    (
        {
            "train.batch_size": 1,
            "model.backbone": "test_resnet",
            "model.head": "deeplab_v3",
            "model.output_stride": 32,
        },
        True,
    ),
    ({"train.batch_size": 1, "model.backbone": "test_convnext"}, False),
    ({"train.batch_size": 1, "model.backbone": "test_vit"}, False),
]


def trains(config: Config) -> bool:
    trainer = Trainer(config)
    try:
        trainer.train_to(1)
    except ValueError as error:
        return "more than 1 value per channel" not in str(error)
    return True


@pytest.mark.parametrize(("values", "is_fault"), CASES, ids=str)
def test_a_batch_is_refused_exactly_where_its_training_would_fail(values: dict[str, Any], is_fault: bool) -> None:
    config = tiny(values)
    assert trains(config) is not is_fault
    if not is_fault:
        check_batch(config)
        return
    with pytest.raises(InputError) as caught:
        check_batch(config)
    (fault,) = caught.value.faults
    for name in ("train.batch_size = 1", "data.augmentation.crop_size", "train.freeze_norm", "a larger crop"):
        assert name.replace(" = 1", "") in str(fault)


def test_a_crop_that_is_mostly_padding_is_noticed() -> None:
    line = "crops of 16x32 are padded to 32x32: sides of images for test_efficientnet are multiples of 32; larger"
    assert any(said.startswith(line) for said in preflight(tiny({"data.augmentation.crop_size": [16, 32]})))
    assert not any("padded to" in said for said in preflight(tiny({"data.augmentation.crop_size": [20, 32]})))
