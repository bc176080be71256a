import json
import re
from pathlib import Path
from typing import Any

import pytest

from raysearch.history.events import Report
from raysearch.history.history import read_history
from raysearch.history.journal import Journal
from raysearch.history.tables import trials_table
from raysearch.schedulers import Decision
from raysearch.schedulers.audit import is_audited
from raysearch.search.search import Search
from tests.raysearch.toy import facts, run_search, toy_spec

ASHA = {"name": "asha", "grace_iters": 2, "reduction_factor": 2, "max_iters": 8}


def test_the_share_is_drawn_from_seed_and_number() -> None:
    drawn = [is_audited(0, number, 0.05) for number in range(4000)]
    assert drawn == [is_audited(0, number, 0.05) for number in range(4000)]
    assert drawn != [is_audited(1, number, 0.05) for number in range(4000)]
    assert 150 < sum(drawn) < 250
    assert not any(is_audited(0, number, 0.0) for number in range(4000))
    assert all(is_audited(0, number, 1.0) for number in range(4000))
    larger = [is_audited(0, number, 0.2) for number in range(4000)]
    assert all(more for less, more in zip(drawn, larger, strict=True) if less), "a larger share holds the smaller one"


def test_audited_trials_run_through_and_the_journal_tells_which(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, scheduler={**ASHA, "audit_fraction": 0.4})
    history = run_search(spec, tmp_path / "study.journal")
    audited = [trial.number for trial in history.trials if trial.is_audited]
    assert audited == [number for number in range(1, 24) if is_audited(3, number, 0.4)]
    assert len(audited) > 3
    assert {history.trials[number].status for number in audited} <= {"completed", "infeasible"}
    assert any(trial.status == "stopped" for trial in history.trials)
    starts = [json.loads(line) for line in (tmp_path / "study.journal").read_text().splitlines()]
    told = [start["user_attrs"].get("audited", False) for start in starts if start["op_code"] == 4]
    assert [number for number, is_told in enumerate(told) if is_told] == audited
    assert trials_table(history)["audited"].to_pylist() == told
    assert facts(read_history(tmp_path / "study.journal")) == facts(history)


def test_an_audited_trial_still_enters_the_rungs(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, scheduler={**ASHA, "audit_fraction": 0.4})
    through = next(number for number in range(1, 24) if is_audited(3, number, 0.4))
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        for _ in range(through + 3):
            search.propose()
        common: dict[str, Any] = {"metrics": {}, "checkpoint": None, "seconds": 1.0, "done": False}
        search.take(0, Report(iteration=2, value=0.5, **common))
        assert search.take(through, Report(iteration=2, value=0.1, **common)) is Decision.CONTINUE, (
            "last of two, let through"
        )
        assert not search.history.trials[through + 1].is_audited
        assert search.take(through + 1, Report(iteration=2, value=0.9, **common)) is Decision.CONTINUE
        assert not search.history.trials[through + 2].is_audited
        # It is second of four, of which two pass; without the audited trial it would be second of three, of which one
        # passes.
        assert search.take(through + 2, Report(iteration=2, value=0.7, **common)) is Decision.CONTINUE


@pytest.mark.parametrize("scheduler", [{**ASHA, "audit_fraction": 0}, {"name": "none", "max_iters": 8}])
def test_none_is_audited_when_turned_off_or_without_a_rule(tmp_path: Path, scheduler: dict[str, object]) -> None:
    history = run_search(toy_spec(tmp_path, scheduler=scheduler), tmp_path / "study.journal")
    assert not any(trial.is_audited for trial in history.trials)


def test_a_journal_of_before_the_audit_has_no_audited_trials(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, scheduler={**ASHA, "audit_fraction": 0})
    expected = run_search(spec, tmp_path / "study.journal")
    old = re.sub(r',?"check":"\w+"', "", (tmp_path / "study.journal").read_text()).replace('"is_audited":false,', "")
    assert "is_audited" not in old
    (tmp_path / "old.journal").write_text(old)
    assert facts(read_history(tmp_path / "old.journal")) == facts(expected)
