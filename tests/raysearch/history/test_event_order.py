import pytest

from raysearch.history.event_order import EventOrder, MisplacedEvent
from raysearch.history.events import Begun, Ended, Event, Extended, Paused, Report, Started, TakenUp, WorkerLost
from raysearch.history.records import Fact

BEGUN, STARTED, RETRY = Begun("x", "max", 3), Started({}, {}, {}, False), Started({}, {}, {}, False, retry_of=0)
REPORT, FAILED = Report(1, 0.5, {}, None, 1.0, False), Ended("failed", "no data")
WHOLE: list[tuple[Event, int | None]] = [
    (BEGUN, None),
    (STARTED, None),
    (REPORT, 0),
    (WorkerLost(times=1), 0),
    (Paused(), 0),
    (TakenUp(), 0),
    (FAILED, 0),
    (Extended(4, (0,)), None),
    (RETRY, None),
    (REPORT, 1),
    (Ended("completed"), 1),
]


def take(events: list[tuple[Event, int | None]]) -> None:
    order = EventOrder()
    for event, trial in events:
        order.take(Fact(event, trial, 0.0))


def test_a_search_as_it_happens() -> None:
    take(WHOLE)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (WHOLE[1:], "before the start of the search"),
        ([*WHOLE, (BEGUN, None)], "a second search"),
        ([WHOLE[0], *WHOLE[2:]], "trial 0, which has not started"),
        ([*WHOLE[:2], (REPORT, -1)], "trial -1, which has not started"),
        ([*WHOLE[:2], (REPORT, None)], "trial None"),
        ([*WHOLE, (REPORT, 1)], "trial 1, which had ended"),
        ([*WHOLE, (FAILED, 0)], "trial 0, which had ended"),
        ([*WHOLE[:2], (Extended(4, (0,)), None)], "a trial that has not failed"),
        ([*WHOLE[:2], (RETRY, None)], "repeats trial 0"),
        ([*WHOLE, (RETRY, None)], "repeats trial 0"),
    ],
)
def test_what_cannot_follow(events: list[tuple[Event, int | None]], message: str) -> None:
    with pytest.raises(MisplacedEvent, match=message):
        take(events)
