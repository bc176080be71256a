from pathlib import Path

import pytest

from raysearch.commands import search_commands
from raysearch.outcome import search_result
from raysearch.run_dir import RunDir
from tests.raysearch.report.histories import history_of, trial
from tests.raysearch.toy import toy_spec

X = {"x": 0.5}


def test_a_search_whose_early_scores_mislead_says_so_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = toy_spec(tmp_path)
    good = history_of(*(trial(X, {2: 0.1 * n, 4: 0.1 * n, 8: 0.2 * n}) for n in range(9)))
    assert search_result(good, spec, RunDir(tmp_path), None).misleading is None
    bad = history_of(*(trial(X, {2: 0.1 * n, 4: -0.1 * n, 8: 0.2 * n}) for n in range(9)))
    result = search_result(bad, spec, RunDir(tmp_path), None)
    assert result.misleading is not None
    assert result.misleading.startswith("Early scores mislead at rung 4: ")
    search_commands._finish(result)
    assert f"note: {result.misleading}\n" in capsys.readouterr().out
