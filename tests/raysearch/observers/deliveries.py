"""A search that is delivered to a tracker, for the tests of the trackers."""

from collections.abc import Callable

from raysearch.history.history import History
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.observers.tracker import Tracker
from raysearch.observers.tracking import Delivery
from raysearch.search.run import Run
from raysearch.search.search import Search
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import run_trial


class Stop(BaseException):
    pass


def search_on(
    run_dir: RunDir, spec: SearchSpec, tracker: Tracker, say: Callable[[str], None], num_reports: int = 1000
) -> History:
    """Run or resume a search until `num_reports` reports, and deliver it."""
    with Journal(run_dir.journal) as journal:
        search = Search(spec, journal)
        delivery = Delivery(tracker, say)
        delivery.begin(Run(run_dir, spec, search.history))
        search.take_changed()
        made: list[None] = []

        def look() -> None:
            delivery.update(search.take_changed())
            made.append(None)
            if len(made) == num_reports:
                raise Stop

        try:
            while (proposal := search.propose()) is not None:
                run_trial(search, proposal, after_report=look)
            delivery.update(search.take_changed())
            run_dir.best_config.write_text("{}\n")
        except Stop:
            pass
        finally:
            delivery.end()
        return search.history
