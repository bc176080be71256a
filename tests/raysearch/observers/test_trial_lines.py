"""Tests that different values never look alike."""

import pytest

from raysearch.checks import check_tables
from raysearch.observers.trial_lines import short, values_in_words
from raysearch.report.parts import shown

DIFFERENT = [0.1, "0.1", None, "None", "null", "~", "", True, "True", "true", "yes", 1, "1", "[1, 2", "1e-4", "#1"]


@pytest.mark.parametrize("words", [short, shown, check_tables._plain])
def test_text_that_reads_as_something_else_is_in_quotes(words: object) -> None:
    assert callable(words)
    assert len({words(value) for value in DIFFERENT}) == len(DIFFERENT)


def test_other_text_is_as_it_is() -> None:
    values = {
        "optim.lr": 0.084141,
        "optim.name": "sgd",
        "contrast.memory": True,
        "weights": "/data/a b.pth",
        "n": "0.1",
    }
    assert values_in_words(values) == (
        "optim.lr=0.08414, optim.name=sgd, contrast.memory=True, weights=/data/a b.pth, n='0.1'"
    )
    assert (shown("sgd"), shown("0.1"), shown(0.1), shown(True)) == ("sgd", '"0.1"', "0.1", "true")
