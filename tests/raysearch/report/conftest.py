import pytest


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the number of draws, because the precision of importances does not matter for the page."""
    monkeypatch.setattr("raysearch.results.importances._NUM_DRAWS", 2)
