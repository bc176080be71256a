import pytest


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """How sure the importances are is of no matter to the page."""
    monkeypatch.setattr("raysearch.results.importances._NUM_DRAWS", 2)
