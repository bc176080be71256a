from raysearch.report.parts import Plot, Table, Text
from raysearch.report.rung_audit import rung_audit_info, rung_audit_parts
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial

X = {"views": 3}


def parts_of(*trials: object, rungs: tuple[int, ...] = (2,)) -> list[object]:
    view = SearchView(history_of(*trials), "miou", rungs=rungs, max_iters=8)  # type: ignore[arg-type]
    return list(rung_audit_parts(rung_audit_info(view)))


def test_the_first_sentence_says_the_gravest() -> None:
    good, *_ = parts_of(*(trial(X, {2: 0.1 * n, 8: 0.2 * n}) for n in range(9)))
    assert isinstance(good, Text)
    assert good.text.startswith("Early scores can be trusted at rung 2:")
    bad, *_ = parts_of(*(trial(X, {2: 0.1 * n, 4: -n, 8: 0.2 * n}) for n in range(9)), rungs=(2, 4))
    assert isinstance(bad, Text)
    assert bad.text == "Early scores mislead at rung 4: they do not predict the final order (correlation below 0.5)."
    few = parts_of(*(trial(X, {2: 0.1 * n, 8: 0.2 * n}) for n in range(3)))
    assert few[0] == Text("Too few trials to tell: 3 trained to the full budget, and 7 are needed.")
    assert not any(isinstance(part, Plot) for part in few)
    assert parts_of()[0] == Text("No trial has completed yet, so there is no final score to compare early scores with.")


def test_the_table_and_the_figure_show_every_rung() -> None:
    _, table, plot = parts_of(*(trial(X, {2: 0.1 * n, 4: -n, 8: 0.2 * n}) for n in range(9)), rungs=(2, 4))
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["2", "4"]
    assert table.rows[0][3] == "1"
    assert [row[-1] for row in table.rows] == ["early scores can be trusted", "early scores mislead"]
    assert isinstance(plot, Plot)
    (trace,) = plot.figure.data
    assert (list(trace.x), [round(y, 6) for y in trace.y]) == ([2, 4], [1.0, -1.0])
    assert all(error >= 0 for error in [*trace.error_y.array, *trace.error_y.arrayminus])


def test_trials_that_were_stopped_are_told() -> None:
    trials = [*(trial(X, {2: 0.1 * n, 8: 0.1 * n}) for n in range(8)), trial(X, {2: 0.3}, "stopped")]
    trials[5].is_audited = True
    *_, last = parts_of(*trials)
    assert isinstance(last, Text)
    assert "1 trial ended before the full budget" in last.text
    assert "Of the others, 1 were exempt" in last.text


def test_without_rungs_the_words_are_of_iterations() -> None:
    text, table, _ = parts_of(*(trial(X, [0.1 * n] * 8) for n in range(9)), rungs=())
    assert isinstance(text, Text)
    assert "at iterations 2, 4, 6:" in text.text
    assert isinstance(table, Table)
    assert table.header[0] == "iteration"
