import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainables.tiny import comparable, tiny
from trainables import devices
from trainables.losses.anchor_sampling import STRATEGIES
from trainables.trainer import Trainer

aten = torch.ops.aten
_OURS = Path(devices.__file__).parent
_SYNCHRONISING = {
    aten._local_scalar_dense,
    aten._unique2,
    aten.bincount,
    aten.equal,
    aten.histc,
    aten.is_nonzero,
    aten.masked_select,
    aten.nonzero,
    aten.unique_consecutive,
    aten.unique_dim,
}
_READING = {"__bool__", "__float__", "__index__", "__int__", "cpu", "item", "numpy", "tolist"}


class _Operations(TorchDispatchMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        waits = packet in _SYNCHRONISING
        if packet in (aten.index, aten.index_put, aten.index_put_):
            waits = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        if packet is aten.repeat_interleave:
            waits = kwargs.get("output_size") is None
        if waits:
            self.found.append(f"{packet.__name__} at {_place()}")
        return func(*args, **kwargs)


class _Methods(TorchFunctionMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _READING:
            self.found.append(f"{func.__name__} at {_place()}")
        return func(*args, **(kwargs or {}))


def _place() -> str:
    frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(_OURS)]
    return next((f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.line}" for f in reversed(frames)), "?")


def _synchronisations(trainer: Trainer) -> list[str]:
    """Return what an accelerator would have to wait for in one training step."""
    found: list[str] = []
    images, labels = torch.randn(4, 3, 32, 32), torch.randint(0, 4, (4, 32, 32))
    labels[:, :4] = 255
    trainer._set_training_mode()
    trainer._step(images, labels)
    with _Methods(found), _Operations(found):
        trainer._step(images, labels)
    return found


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tensors take the paths that they take on an accelerator."""
    monkeypatch.setattr(devices, "reading_is_free", lambda tensor: False)


STEPS: dict[str, dict[str, Any]] = {
    "default": {},
    **{f"strategy {name}": {"contrast.strategy": name} for name in STRATEGIES},
    "replacement": {"contrast.replacement": True, "contrast.max_views": 40},
    "pool": {"contrast.max_keys": 300, "contrast.max_samples": 20},
    "few samples": {"contrast.max_samples": 3},
    "memory": {"contrast.memory": True, "contrast.memory_size": 12},
    "limits": {"contrast.max_positives": 4, "contrast.negative_ratio": 2.0},
    "limits and memory": {"contrast.max_positives": 4, "contrast.memory": True, "contrast.memory_size": 12},
    "weights": {"loss.ce_weight_power": 0.5},
    "ohem_ce": {"loss.segmentation": "ohem_ce", "loss.ohem_min_kept": 50, "loss.ce_weight_power": 0.5},
    "lovasz": {"loss.segmentation": "lovasz"},
    "ce_lovasz": {"loss.segmentation": "ce_lovasz"},
    "rmi": {"loss.segmentation": "rmi"},
    "product": {"loss.combination": "product"},
    "ocr": {"model.head": "ocr"},
    "deeplab": {"model.head": "deeplab_v3", "model.backbone": "test_resnet", "model.output_stride": 8},
    "average": {"train.ema_decay": 0.9},
    "parts": {"train.micro_batch_size": 2},
    "frozen norm": {"train.freeze_norm": True},
    "bf16": {"train.precision": "bf16"},
    "adamw": {"optim.name": "adamw"},
    "padding": {"data.augmentation.crop_size": [30, 34]},
    "no contrast": {"contrast.loss_weight": 0.0},
}


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", STEPS)
def test_an_accelerator_never_waits_in_a_training_step(name: str) -> None:
    found = _synchronisations(Trainer(tiny(STEPS[name])))
    # Outside a GPU, AdamW counts its steps on the CPU.
    assert [place for place in found if not place.endswith("self.optimizer.step()")] == []


def test_the_paths_of_the_cpu_would_make_it_wait() -> None:
    assert _synchronisations(Trainer(tiny()))


@pytest.mark.parametrize("mode", ["ss", "ms", "sscrop", "mscrop"])
def test_an_accelerator_is_read_once_in_a_training_and_once_in_an_evaluation(mode: str, elsewhere: None) -> None:
    trainer = Trainer(tiny({"evaluation.mode": mode, "evaluation.batch_size": 1, "evaluation.flip": True}))
    found: list[str] = []
    with _Methods(found):
        trainer.train_to(4)
        confusion = trainer.evaluate()
        assert [place.split()[0] for place in found if place.startswith("cpu")] == ["cpu"]
        found.clear()
        confusion.miou()
        confusion.miou_draws(5)
    assert [place.split()[0] for place in found if place.startswith("cpu")] == ["cpu"]


# The choice of some pixels or pairs is drawn in another way, and bf16 makes more of the last digits, so these are left
# out.
SAME = [name for name in STEPS if name not in ("pool", "few samples", "limits", "limits and memory", "bf16")]


@pytest.mark.parametrize("name", SAME)
def test_the_results_are_those_of_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {**STEPS[name], "data.drawn.size": [40, 48], "train.batch_size": 4}
    expected = comparable(Trainer(tiny(values)).run_to_report())
    with monkeypatch.context() as patch:
        patch.setattr(devices, "reading_is_free", lambda tensor: False)
        report = comparable(Trainer(tiny(values)).run_to_report())
    assert report.keys() == expected.keys()
    for key, value in expected.items():
        assert report[key] == pytest.approx(value, rel=1e-5, abs=1e-6), key


def test_batches_come_in_order_and_on_the_device() -> None:
    batches = [(torch.full((1, 3, 2, 2), float(i)), torch.full((1, 2, 2), i)) for i in range(3)]
    copied = list(devices.on_device(batches, torch.device("cpu")))
    assert [int(labels[0, 0, 0]) for _, labels in copied] == [0, 1, 2]
    assert all(images.equal(given) for (images, _), (given, _) in zip(copied, batches, strict=True))
