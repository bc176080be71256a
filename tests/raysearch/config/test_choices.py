"""Tests of choices that are lists, through the space file, the samplers, the journal, the tables and the page."""

import json
import warnings
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard._inmemory_cache import InMemoryCache, get_cached_extra_study_property
from optuna_dashboard._serializer import serialize_search_space

from raysearch.errors import InputError
from raysearch.history.events import Report
from raysearch.history.history import History, read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.runs.outcome import write_outcome
from raysearch.search.run import Run
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.schema import space_schema
from raysearch.space.spec import SearchSpec

TRAINABLE = """
from pydantic import BaseModel

class Sized:
    class Config(BaseModel):
        size: list[int] = [64, 64]
        scales: list[float] | None = None
        rate: float = 0.5
        views: int = 1
"""
SPACE: dict[str, Any] = {
    "size": {"type": "categorical", "choices": [[64, 64], [128, 256], [512, 512]]},
    "scales": {"type": "categorical", "choices": [None, [0.5, 2.0]]},
    "rate": {"type": "float", "low": 0.0, "high": 1.0},
    "views": {"type": "int", "low": 1, "high": 4, "when": {"size": [512, 512]}},
}
ALGORITHMS = ["tpe", "gp", "nsga2", "cmaes", "qmc", "random", "curve_gp"]


def spec_of(folder: Path, algorithm: str = "tpe", trials: int = 12, space: Any = SPACE, **sections: Any) -> SearchSpec:
    (folder / "sized.py").write_text(TRAINABLE)
    document = {
        "trainable": "sized.py:Sized",
        "space": space,
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": algorithm, "trials": trials, "seed": 0},
        "scheduler": {"name": "none", "max_iters": 1},
    }
    return parse_space({**document, **sections}, folder, "space.yaml")


def search(spec: SearchSpec, journal: Path) -> History:
    with Journal(journal) as opened:
        search = Search(spec, opened)
        while (proposal := search.propose()) is not None:
            config = proposal.config
            value = config["rate"] - abs(config["size"][0] - 512) / 512 + (config["scales"] is not None)
            metrics: dict[str, Any] = {"metrics": {}, "checkpoint": None, "seconds": 1.0, "done": True}
            search.take(proposal.number, Report(iteration=1, value=value, **metrics))
    return read_history(journal)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_draws_lists(algorithm: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        history = search(spec_of(tmp_path, algorithm), tmp_path / "whole")
    assert len(history.trials) == 12
    assert history.trials[0].values == {"size": [64, 64], "scales": None, "rate": 0.5, "views": 1}
    for trial in history.trials[1:]:
        assert trial.values["size"] in SPACE["size"]["choices"]
        assert ("views" in trial.values) == (trial.values["size"] == [512, 512])
        assert trial.params == trial.values
    assert len({json.dumps(trial.values["size"]) for trial in history.trials}) == 3
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    resumed = search(spec_of(tmp_path, algorithm), tmp_path / "cut")
    assert [trial.values for trial in resumed.trials] == [trial.values for trial in history.trials]


def test_a_space_of_lists_is_searched_to_its_last_config(tmp_path: Path) -> None:
    space = {path: SPACE[path] for path in ("size", "scales", "views")}
    history = search(spec_of(tmp_path, "tpe", trials=99, space=space), tmp_path / "journal")
    assert len(history.trials) == 4 + 8, "of which the default is one"


def test_the_journal_is_one_that_optuna_and_its_dashboard_read(tmp_path: Path) -> None:
    search(spec_of(tmp_path), tmp_path / "study.journal")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
        trials = storage.get_all_trials(0)
    assert {trial.params["size"] for trial in trials} == {"[64, 64]", "[128, 256]", "[512, 512]"}
    assert {trial.params["scales"] for trial in trials} == {None, "[0.5, 2.0]"}
    _, union, _, _ = get_cached_extra_study_property(InMemoryCache(), 0, trials)
    shown = {one["name"]: one["distribution"] for one in serialize_search_space(union)}
    sizes = {choice["value"] for choice in shown["size"]["choices"]}
    assert sizes == {"[64, 64]", "[128, 256]", "[512, 512]"}


def test_the_tables_hold_json_text_and_start_another_search(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    run_dir = RunDir(tmp_path)
    history = search(spec, run_dir.journal)
    write_outcome(Run(run_dir, spec, history))
    table = pq.read_table(run_dir.trials_table)
    assert table["size"].to_pylist() == [json.dumps(trial.values["size"]) for trial in history.trials]
    assert table["scales"][0].as_py() is None
    best = json.loads(run_dir.best_config.read_text())
    winner = history.best_trial()
    assert winner is not None
    assert (best["size"], best["scales"]) == (winner.values["size"], winner.values["scales"])
    assert json.dumps(winner.values["size"]) in run_dir.report.read_text()
    notes = tmp_path / "notes.csv"
    notes.write_text('size,scales,rate,score\n"[128, 256]","[0.5, 2.0]",0.25,1\n"[1, 2]",,0.5,2\n')
    settings = {"algorithm": "tpe", "trials": 3, "warm_start": str(notes), "first_points": 5}
    other = search(spec_of(tmp_path, search=settings), tmp_path / "other.journal")
    assert other.trials[1].values == {"size": [128, 256], "scales": [0.5, 2.0], "rate": 0.25}
    assert other.trials[2].origin is None, "[1, 2] is no choice, so that row is no first point"


@pytest.mark.parametrize(
    ("path", "words", "fault"),
    [
        ("size", {"choices": [[1, 2], [1, 2.0]]}, "the choices [1, 2] and [1, 2.0] count as the same value"),
        ("size", {"choices": [[1, 2], ["3", 4]]}, 'the choice ["3", 4] is converted to [3, 4]; write [3, 4]'),
        ("size", {"choices": [[1, 2], ["x", 4]]}, 'the choice ["x", 4]'),
        ("scales", {"choices": [[0.5], "[0.5]"]}, "the choice [0.5] is also given as text; keep one"),
        ("rate", {"choices": [0.5, [0.5]]}, "the choice [0.5]"),
        ("views", {**SPACE["views"], "when": {"size": [512, 513]}}, "when: size is never 512"),
        ("views", {**SPACE["views"], "when": {"size": [[512, 513]]}}, "when: size is never [512, 513]"),
    ],
)
def test_wrong_lists_have_their_fault(path: str, words: dict[str, Any], fault: str, tmp_path: Path) -> None:
    space = {**SPACE, path: {"type": "categorical", **words} if "choices" in words else words}
    if path == "size":
        del space["views"]
    with pytest.raises(InputError) as caught:
        spec_of(tmp_path, space=space)
    assert any(fault in str(found) for found in caught.value.faults), caught.value.faults


def test_a_condition_names_one_list_or_several(tmp_path: Path) -> None:
    for when in ([512, 512], [[512, 512]], [[64, 64], [512, 512]]):
        spec = spec_of(tmp_path, space={**SPACE, "views": {**SPACE["views"], "when": {"size": when}}})
        views = next(parameter for parameter in spec.parameters if parameter.path == "views")
        assert views.active({"size": [512, 512]}, spec.config)
        assert views.active({"size": [64, 64]}, spec.config) == (len(when) == 2 and [64, 64] in when)
        assert not views.active({"size": [128, 256]}, spec.config)


def test_the_schema_takes_lists_in_choices_and_conditions(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    spec = spec_of(tmp_path)
    schema = space_schema(spec.trainable)
    document = {**spec.document, "trainable": spec.trainable.name}
    jsonschema.Draft202012Validator(schema).validate(document)
