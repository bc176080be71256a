from raysearch.report.parts import Code, Text
from raysearch.report.reproduce import reproduce_info, reproduce_parts
from raysearch.report.view import SearchView
from tests.raysearch.report.histories import history_of

BEST = {"raysearch": {"seed": 3, "num_threads": None, "versions": {"python": "3.11", "torch": "2.15"}}}


def test_commands_versions_and_hashes_are_there_to_copy() -> None:
    hashes = (("space.yaml", "ab12"), ("best_checkpoint/model.pt", "cd34"))
    view = SearchView(history_of(), "miou", best=BEST, commands=("train it", "score it"), hashes=hashes)
    parts = reproduce_parts(reproduce_info(view))
    assert [part.text for part in parts if isinstance(part, Code)] == [
        "train it\nscore it",
        "python 3.11\ntorch 2.15",
        "ab12  space.yaml\ncd34  best_checkpoint/model.pt",
    ]
    assert Text("Versions, with seed 3:") in parts


def test_a_trainable_that_train_does_not_know_has_no_commands() -> None:
    parts = reproduce_parts(reproduce_info(SearchView(history_of(), "m", best=BEST)))
    assert [part.text for part in parts if isinstance(part, Code)] == ["python 3.11\ntorch 2.15"]
