import json

from raysearch.report.config import config_info, config_parts
from raysearch.report.parts import Code, Text
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of


def test_the_whole_config_can_be_copied() -> None:
    best = {"optim": {"lr": 0.1}, "raysearch": {"trial": 3, "versions": {}}}
    _, code = config_parts(config_info(SearchView(history_of(), "miou", best=best)))
    assert isinstance(code, Code)
    assert json.loads(code.text) == best
    assert config_parts(config_info(SearchView(history_of(), "miou"))) == [
        Text("There is no best config yet, because no trial has reported.")
    ]
