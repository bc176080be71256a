from raysearch.history.history import Leg
from raysearch.report.parts import Facts, Plot, Text
from raysearch.report.timeline import MAX_BARS, timeline_info, timeline_parts
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of, trial


def test_a_worker_keeps_its_lane_and_leaves_it_to_the_next() -> None:
    trials = [trial({"views": n}, [0.1 * n], is_default=n == 0) for n in range(5)]
    start = trials[0].started
    busy = [[("a", 2, 10)], [("b", 1, 6)], [("b", 6, 8), ("a", 12, 14)], [("c", 8, 12)], [("b", 14, 16)]]
    for one, legs in zip(trials, busy, strict=True):
        one.legs = [Leg(f"node:{name}", start + begin, start + end) for name, begin, end in legs]
    info = timeline_info(SearchView(history_of(*trials), "miou"))
    assert info is not None
    assert [(bar.number, bar.lane, bar.worker, bar.begin, bar.end) for bar in info.bars] == [
        (1, 0, "node:b", 1.0, 6.0),
        (0, 1, "node:a", 2.0, 10.0),
        (2, 0, "node:b", 6.0, 8.0),
        (3, 0, "node:c", 8.0, 12.0),
        (2, 1, "node:a", 12.0, 14.0),
        (4, 0, "node:b", 14.0, 16.0),
    ]
    assert info.num_lanes == 2
    assert info.elapsed_s == 15.0
    assert info.busy == 23 / 30
    assert info.num_inferred == 0
    assert [bar.number for bar in info.bars if bar.is_winner] == [4]
    assert [bar.number for bar in info.bars if bar.is_default] == [0]
    facts, plot = timeline_parts(info)
    assert isinstance(facts, Facts)
    assert [fact.value for fact in facts.facts] == ["15 s", "2", "77%"]
    assert isinstance(plot, Plot)


def test_time_in_which_nothing_ran_is_no_part_of_a_search() -> None:
    trials = [trial({"views": n}, [0.1]) for n in range(2)]
    start = trials[0].started
    trials[0].legs = [Leg("node:a", start, start + 10)]
    trials[1].legs = [Leg("node:b", start + 86_400, start + 86_410)]
    info = timeline_info(SearchView(history_of(*trials), "miou"))
    assert info is not None
    assert (info.num_lanes, info.elapsed_s, info.busy) == (1, 20.0, 1.0)


def test_journals_of_before_say_when_a_trial_began_and_ended() -> None:
    old, running = trial({"views": 1}, [0.1]), trial({"views": 2}, [0.1], "running")
    old.ended = old.started + 30.0
    info = timeline_info(SearchView(history_of(old, running), "miou"))
    assert info is not None
    assert [(bar.number, bar.worker, bar.begin, bar.end) for bar in info.bars] == [(0, "", 0.0, 30.0)]
    assert info.num_inferred == 1
    assert timeline_parts(info)[-1] == Text(
        "For 1 trial, the journal holds only the start and the end, so the worker is unknown."
    )


def test_of_very_many_stretches_the_latest_are_drawn() -> None:
    one = trial({"views": 1}, [0.1])
    one.legs = [Leg("node:a", one.started + 2 * n, one.started + 2 * n + 1) for n in range(MAX_BARS + 5)]
    _, plot, text = timeline_parts(timeline_info(SearchView(history_of(one), "miou")))
    assert isinstance(plot, Plot)
    assert [len(trace.x) for trace in plot.figure.data] == [MAX_BARS]
    assert text == Text("The latest 2000 of 2005 bars are shown.")
