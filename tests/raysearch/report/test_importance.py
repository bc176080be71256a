import random

from raysearch.report.importance import MIN_TRIALS, importance_info, importance_parts
from raysearch.report.parts import Plot, Text
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial


def draw(rng: random.Random) -> dict[str, float]:
    return {"optim.lr": 10 ** rng.uniform(-3, -1), "views": rng.randint(0, 10)}


def test_the_value_that_decides_has_the_larger_share() -> None:
    rng = random.Random(0)
    drawn = [draw(rng) for _ in range(60)]
    for decisive in ("optim.lr", "views"):
        for mode in ("max", "min"):
            history = history_of(*(trial(values, [values[decisive]]) for values in drawn), mode=mode)
            info = importance_info(SearchView(history, "miou"))
            assert info.shares[0][0] == decisive
            assert info.shares[0][1] > 0.7
            assert abs(sum(share for _, share in info.shares) - 1) < 1e-12


def test_what_comes_after_the_iteration_compared_is_not_heard() -> None:
    rng = random.Random(0)
    drawn = [draw(rng) for _ in range(40)]
    until = [trial(values, [0.0, values["optim.lr"]], "stopped") for values in drawn]
    beyond = [
        trial(values, [0.0, values["optim.lr"], *([2 + rng.random()] if n < MIN_TRIALS - 1 else [])])
        for n, values in enumerate(drawn)
    ]
    stopped, completed = (importance_info(SearchView(history_of(*trials), "miou")) for trials in (until, beyond))
    assert (stopped.num_trials, stopped.iteration) == (40, 2)
    assert completed == stopped
    assert stopped.shares[0][0] == "optim.lr"


def test_the_furthest_iteration_that_enough_trials_reached_is_taken() -> None:
    rng = random.Random(0)
    trials = [trial(draw(rng), [rng.random()] * (3 if n < MIN_TRIALS else 1)) for n in range(30)]
    info = importance_info(SearchView(history_of(*trials), "miou"))
    assert (info.num_trials, info.iteration) == (MIN_TRIALS, 3)


def test_trials_that_cannot_win_do_not_count() -> None:
    trials = [trial({"views": n}, [0.1 * n]) for n in range(MIN_TRIALS - 1)]
    others = [
        trial({"views": 1}, [0.9], "infeasible"),
        trial({"views": 1}, [], "failed"),
        trial({"views": 1}, [], "running"),
    ]
    info = importance_info(SearchView(history_of(*trials, *others), "miou"))
    assert (info.num_trials, info.iteration, info.shares) == (MIN_TRIALS - 1, None, ())
    assert importance_parts(info) == [Text("Too few trials: 9 have a value to compare, 10 are needed.")]


def test_equal_values_tell_nothing() -> None:
    info = importance_info(SearchView(history_of(*(trial({"views": n}, [0.5]) for n in range(11))), "miou"))
    assert info.shares == ()
    (text,) = importance_parts(info)
    assert isinstance(text, Text)
    assert text.text.startswith("No searched value tells the best of 11 trials")


def test_few_trials_are_called_a_hint() -> None:
    for num_trials, hint in ((19, True), (20, False)):
        info = importance_info(
            SearchView(history_of(*(trial({"views": n % 11}, [n]) for n in range(num_trials))), "miou")
        )
        text, plot = importance_parts(info)
        assert isinstance(text, Text)
        assert ("hint" in text.text) is hint
        assert isinstance(plot, Plot)
