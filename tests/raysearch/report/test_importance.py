from raysearch.report.importance import importance_parts
from raysearch.report.parts import Plot, Table, Text
from raysearch.results.importances import Importance, Importances, Method, Verdict


def row(path: str, method: Method, share: float, verdict: Verdict = "effect") -> Importance:
    return Importance(path, method, share, (share / 2, share * 1.25), verdict)


def importances_of(num_trials: int = 40, **verdicts: tuple[Verdict, Verdict]) -> Importances:
    """Return equal shares of some values, with the conclusions of fANOVA and PED-ANOVA for each."""
    share = 0.8 / len(verdicts)
    rows = [row(path, "fanova", share, one) for path, (one, _) in verdicts.items()]
    rows += [row(path, "ped_anova", share, other) for path, (_, other) in verdicts.items()]
    idle = tuple((path, num_trials) for path, of_methods in verdicts.items() if "took no effect" in of_methods)
    return Importances(num_trials, 500, tuple(rows), idle)


def texts(info: Importances) -> list[str]:
    return [part.text for part in importance_parts(info) if isinstance(part, Text)]


def test_what_did_nothing_and_what_was_not_shown_are_told_apart() -> None:
    info = importances_of(
        lr=("effect", "effect"),
        views=("took no effect", "took no effect"),
        dropout=("no effect shown", "no effect shown"),
        flip=("no effect shown", "effect"),
    )
    shares, idle, unshown = texts(info)
    assert shares.startswith("How much each value matters for the scores of 40 trials at iteration 500. ")
    assert idle == "views had no effect in any iteration of any trial (40 trials counted its effect)."
    assert unshown.startswith("Neither method can tell the effect of dropout from chance (permutation test).")


def test_shares_stand_in_a_figure_and_a_table_with_their_intervals() -> None:
    info = importances_of(lr=("effect", "effect"), flip=("no effect shown", "effect"))
    plot, table = importance_parts(info)[-2:]
    assert isinstance(plot, Plot)
    assert [list(bars.y) for bars in plot.figure.data] == [["flip", "lr"]] * 2
    assert [list(bars.x) for bars in plot.figure.data] == [[0.4, 0.4]] * 2
    assert list(plot.figure.data[0].error_x.array) == [0.1, 0.1]
    assert list(plot.figure.data[0].error_x.arrayminus) == [0.2, 0.2]
    assert isinstance(table, Table)
    assert table.rows == (
        ("lr", "40.0% (20.0% to 50.0%)", "effect", "40.0% (20.0% to 50.0%)", "effect"),
        ("flip", "40.0% (20.0% to 50.0%)", "no effect shown", "40.0% (20.0% to 50.0%)", "effect"),
    )


def test_few_trials_are_called_a_hint() -> None:
    for num_trials, hint in ((19, True), (20, False)):
        assert ("hint" in texts(importances_of(num_trials, lr=("effect", "effect")))[0]) is hint


def test_too_few_trials_still_tell_what_took_no_effect() -> None:
    assert texts(Importances(9, None, (), (("views", 1),))) == [
        "Too few trials: this panel needs 10 comparable values and has 9.",
        "views had no effect in any iteration of any trial (1 trial counted its effect).",
    ]


def test_equal_values_tell_nothing() -> None:
    rows = (row("views", "fanova", 0.0, "no effect shown"), row("views", "ped_anova", 0.0, "no effect shown"))
    assert texts(Importances(11, 1, rows, ())) == [
        "No searched value explains the differences between the scores of 11 trials at iteration 1."
    ]
