import json

from raysearch.report.parts import Code
from raysearch.report.reproduce import reproduce_info, reproduce_parts
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of

BEST = {"optim": {"lr": 0.1}, "raysearch": {"value": 0.5, "versions": {"python": "3.11", "torch": "2.15"}}}


def test_config_versions_and_commands_are_there_to_copy() -> None:
    info = reproduce_info(SearchView(history_of(), "miou", best=BEST, commands=("train it", "score it")))
    assert info is not None
    assert json.loads(info.config) == BEST
    assert info.versions == (("python", "3.11"), ("torch", "2.15"))
    codes = [part.text for part in reproduce_parts(info) if isinstance(part, Code)]
    assert codes == ["train it\nscore it", "python 3.11\ntorch 2.15", info.config]


def test_a_trainable_that_train_does_not_know_has_no_commands() -> None:
    codes = [
        p for p in reproduce_parts(reproduce_info(SearchView(history_of(), "m", best=BEST))) if isinstance(p, Code)
    ]
    assert len(codes) == 2
