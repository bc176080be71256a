import pytest
import torch

from tests.trainables.tiny import tiny
from trainables import precision
from trainables.errors import InputError
from trainables.precision import fastest_precision, with_fastest_precision
from trainables.trainer import Trainer

CPU = torch.device("cpu")


@pytest.mark.parametrize(("of_bf16", "expected"), [(0.5, "bf16"), (0.95, "float32"), (2.0, "float32")])
def test_the_faster_precision_is_chosen_if_it_gains_enough(
    of_bf16: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def step(is_bf16: bool) -> None:
        clock[0] += of_bf16 if is_bf16 else 1.0

    network = torch.nn.Module.__call__

    def timed(self: torch.nn.Module, *values: object, **options: object) -> object:
        if type(self).__name__ == "Segmenter":
            step(torch.is_autocast_enabled("cpu"))
        return network(self, *values, **options)

    monkeypatch.setattr(torch.nn.Module, "__call__", timed)
    monkeypatch.setattr(precision, "_now", lambda device: clock[0])
    precision._measured.cache_clear()
    assert fastest_precision(tiny(), CPU) == expected
    precision._measured.cache_clear()


def test_auto_is_filled_in_and_nothing_else_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "fastest_precision", lambda config, device: "bf16")
    assert with_fastest_precision(tiny({"train.precision": "auto"})) == tiny({"train.precision": "bf16"})
    assert with_fastest_precision(tiny()) == tiny()


def test_the_measurement_draws_nothing_and_keeps_the_threads() -> None:
    state, num_threads = torch.get_rng_state(), torch.get_num_threads()
    assert fastest_precision(tiny({"train.num_threads": 1}), CPU) in ("float32", "bf16")
    assert torch.get_rng_state().equal(state)
    assert torch.get_num_threads() == num_threads


def test_a_single_trial_cannot_choose() -> None:
    with pytest.raises(InputError, match=r"train\.precision: auto"):
        Trainer(tiny({"train.precision": "auto"}))
