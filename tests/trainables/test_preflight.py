"""Tests of the check that needs the network: batch norms that would get one value per channel."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainables.tiny import tiny
from trainables.config import Config, ModelConfig
from trainables.errors import InputError
from trainables.models import build_model, warm_model
from trainables.models.backbone import build_backbone
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
    line = "crops of 16x32 are padded to 32x32: test_efficientnet needs image sides that are multiples of 32; a larger"
    assert any(said.startswith(line) for said in preflight(tiny({"data.augmentation.crop_size": [16, 32]})))
    assert not any("padded to" in said for said in preflight(tiny({"data.augmentation.crop_size": [20, 32]})))


class TestWeights:
    """The file of weights is read again when it has changed, in the same process too."""

    def config(self, folder: Path) -> Config:
        return tiny({"model.backbone": "test_resnet", "model.weights": str(folder / "weights.pth")})

    def write(self, folder: Path, **changed: Any) -> None:
        state = build_backbone(ModelConfig(backbone="test_resnet")).network.state_dict()
        torch.save({**state, **changed}, folder / "weights.pth")

    def test_a_deleted_file_is_missing(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        check_batch(self.config(tmp_path))
        (tmp_path / "weights.pth").unlink()
        with pytest.raises(InputError, match=r"weights\.pth is not a file"):
            check_batch(self.config(tmp_path))

    def test_a_replaced_file_is_read(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        check_batch(self.config(tmp_path))
        self.write(tmp_path, more=torch.zeros(2), **{"conv1.weight": torch.zeros(1)})
        with pytest.raises(InputError, match=r"does not fit test_resnet"):
            check_batch(self.config(tmp_path))

    def test_a_reused_network_begins_with_the_file_as_it_is_now(self, tmp_path: Path) -> None:
        model = self.config(tmp_path).model
        self.write(tmp_path)
        warm_model(model, 3, None, seed=0)
        self.write(tmp_path, **{"bn1.bias": torch.full((32,), 7.0)})
        expected = build_model(model, 3, None, seed=0).state_dict()
        found = warm_model(model, 3, None, seed=0).state_dict()
        assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
