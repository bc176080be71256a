"""Tests of what `check` prints at its end, and of its exit code."""

import signal
import sys
from pathlib import Path

import pytest

from raysearch.checks import check
from raysearch.checks.measure import Measurement, NotMeasured
from raysearch.commands import cli
from trainables.protocol import TrialCost

WELL = Measurement(TrialCost(0.1, 0.1, 10), 2**20, on_gpu=False)
LATE = NotMeasured("not measured within 40 s", is_fault=False)
LOST = NotMeasured("the loss is nan at iteration 2", is_fault=False, loses_trial=True)
SPACE = """
config:
  data: {drawn: {num_train: 8, num_val: 4, size: [32, 32]}, augmentation: {crop_size: [32, 32]}}
  train: {max_iters: 20, report_iters: 10, batch_size: 2}
space: {train.batch_size: {type: int, low: 2, high: 4}}
objective: {metric: miou, mode: max}
search: {trials: 2}
scheduler: {name: none}
"""


@pytest.mark.parametrize(
    ("default", "largest", "last", "code"),
    [
        (WELL, WELL, "1 parameter, 2 trials; nothing wrong was found", 0),
        (LATE, LATE, "1 parameter, 2 trials; nothing wrong was found", 0),
        (WELL, LOST, "1 parameter, 2 trials; 1 problem was found", 0),
        (LOST, WELL, "1 parameter, 2 trials; 1 problem was found", 1),
        (LOST, LOST, "1 parameter, 2 trials; 2 problems were found", 1),
    ],
)
def test_a_config_that_diverges_is_a_problem(
    default: Measurement | NotMeasured,
    largest: Measurement | NotMeasured,
    last: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(check, "measure", lambda spec, configs, **_: [default, largest][: len(configs)])
    monkeypatch.setattr(sys, "argv", ["raysearch", "check", str(tmp_path / "space.yaml")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert int(ended.value.code or 0) == code, err
    assert out.splitlines()[-1] == f"{tmp_path / 'space.yaml'}: {last}"
    err = " ".join(err.split())
    assert ("failed: the default config ends without a score: the loss is nan at iteration 2" in err) == (code == 1)
    assert ("warning: the most expensive config: train.batch_size=4: the loss is nan" in err) == (largest is LOST)
