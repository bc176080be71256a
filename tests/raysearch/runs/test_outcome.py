from pathlib import Path

import pytest

from raysearch.commands import search_commands
from raysearch.history.run_dir import RunDir
from raysearch.runs.outcome import search_result
from raysearch.search.run import Run
from tests.raysearch.report.histories import history_of, trial
from tests.raysearch.toy import toy_spec

X = {"x": 0.5}


def test_a_search_whose_early_scores_mislead_says_so_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = toy_spec(tmp_path)
    good = history_of(*(trial(X, {2: 0.1 * n, 4: 0.1 * n, 8: 0.2 * n}) for n in range(9)))
    assert search_result(Run(RunDir(tmp_path), spec, good), None).misleading is None
    bad = history_of(*(trial(X, {2: 0.1 * n, 4: -0.1 * n, 8: 0.2 * n}) for n in range(9)))
    result = search_result(Run(RunDir(tmp_path), spec, bad), None)
    assert result.misleading is not None
    assert result.misleading.startswith("Early scores mislead at rung 4: ")
    search_commands._finish(result)
    assert f"note: {result.misleading}\n" in capsys.readouterr().out


def test_a_default_config_beyond_the_memory_limit_is_said_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = toy_spec(tmp_path)
    error = "it took 1.390 GB of memory, but resources.memory_gb allows 1.000 GB"
    default = trial(X, {2: 0.9}, "infeasible", error=error, is_default=True)
    result = search_result(Run(RunDir(tmp_path), spec, history_of(default, trial(X, {2: 0.1}))), None)
    assert (result.best_trial, result.best_value) == (1, 0.1)
    assert result.default_lost == f"infeasible: {error}"
    search_commands._finish(result)
    said = capsys.readouterr().out
    assert f"note: the default config (trial 0) is infeasible: {error}" in said.replace("\n", " ")
    assert "default score" not in said


def test_more_than_half_of_the_trials_must_fail_to_be_the_cause_of_exit_code_1(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path)

    def said(num_failed: int) -> str | None:
        failed = (trial(X, {}, "failed", error="KeyError: 'a bug'") for _ in range(num_failed))
        history = history_of(trial(X, {2: 0.1}), trial(X, {2: 0.2}), *failed)
        return search_result(Run(RunDir(tmp_path), spec, history), None).mostly_failed

    assert said(2) is None, "half of them"
    told = said(3)
    assert told is not None
    assert told.startswith("3 of 5 trials failed, with KeyError: 'a bug'")
