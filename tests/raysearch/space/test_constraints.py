import math
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from raysearch.algorithms import suggest
from raysearch.errors import InputError
from raysearch.history.events import UNKNOWN_VIOLATION, Report
from raysearch.history.history import History, read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import trials_table
from raysearch.report.history import history_info
from raysearch.report.parts import Text
from raysearch.report.view import SearchView
from raysearch.report.winner import winner_info, winner_parts
from raysearch.results.confirmation import read_confirmation, write_confirmed
from raysearch.results.export import best_document
from raysearch.search.search import Search
from raysearch.space.constraints import Constraint
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec
from tests.raysearch.toy import SPACE, run_search, toy_spec

CONFIG = {"data": {"label_class_ids": [0, 1, 2], "class_names": ["road", "traffic light", "bicyclist"]}}


def spec_of(folder: Path, *constraints: Any, config: Any = CONFIG, **space: Any) -> SearchSpec:
    searched = {"contrast.max_views": {"type": "int", "low": 1, "high": 200}, **space}
    document = {"config": config, "space": searched, "constraints": list(constraints), "objective": MIOU}
    return parse_space(document, folder, "space.yaml")


MIOU = {"metric": "miou", "mode": "max"}


def faults_of(folder: Path, *constraints: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        spec_of(folder, *constraints, **kwargs)
    return [str(fault).removeprefix("space.yaml: constraints: ") for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("text", "holds", "breaks"),
    [
        ("contrast.max_views <= contrast.max_samples", 1024, 1025),
        ("contrast.max_samples >= contrast.max_views", 1024, 1025),
        ("contrast.max_views < contrast.max_samples", 1023, 1024),
        ("contrast.max_samples > 2 * contrast.max_views", 511, 512),
        ("contrast.max_views<=1e2", 100, 101),
        ("150 >= contrast.max_views", 150, 151),
        ("-1 * contrast.max_views >= -120", 120, 121),
    ],
)
def test_what_a_constraint_between_values_allows(tmp_path: Path, text: str, holds: int, breaks: int) -> None:
    spec = spec_of(tmp_path, text)
    assert spec.allows({"contrast.max_views": holds})
    assert not spec.allows({"contrast.max_views": breaks})
    assert spec.violations({}, {}) == {}, "a report has no part in it"


def test_a_value_that_is_not_searched_or_not_active_is_the_configs_own(tmp_path: Path) -> None:
    space = {
        "contrast.memory": {"type": "categorical", "choices": [True, False]},
        "contrast.memory_size": {"type": "int", "low": 1, "high": 3000, "when": {"contrast.memory": True}},
    }
    spec = spec_of(tmp_path, "contrast.memory_size >= 20 * contrast.max_views", **space)
    assert spec.allows({"contrast.max_views": 100}), "memory_size is 2000 in the config"
    assert not spec.allows({"contrast.max_views": 101})
    assert spec.allows({"contrast.max_views": 101, "contrast.memory_size": 2020})


def test_null_in_the_config_holds_every_constraint(tmp_path: Path) -> None:
    words = {"type": "categorical", "choices": [None, 2, 4]}
    spec = spec_of(tmp_path, "train.micro_batch_size <= 3", **{"train.micro_batch_size": words})
    assert [spec.allows({"train.micro_batch_size": size}) for size in (None, 2, 4)] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "reported", "violation"),
    [
        ("iou.bicyclist >= 0.15", {"iou": [0.9, 0.4, 0.05]}, 0.1),
        ("iou.2 >= 0.15", {"iou": [0.9, 0.4, 0.25]}, -0.1),
        ("iou.traffic light > 0.4", {"iou": [0.9, 0.4, 0.25]}, sys.float_info.min),
        ("pixel_accuracy >= 0.8", {"pixel_accuracy": 0.5}, 0.3),
        ("loss <= 2 * loss_segmentation", {"loss": 1.5, "loss_segmentation": 0.5}, 0.5),
        ("iou.bicyclist >= 0.15", {"iou": [0.9, 0.4, math.nan]}, UNKNOWN_VIOLATION),
        ("iou.bicyclist >= 0.15", {}, UNKNOWN_VIOLATION),
        ("peak_memory_bytes <= 1e9", {"peak_memory_bytes": 1_500_000_000}, 5e8),
    ],
)
def test_by_how_much_a_report_breaks_a_floor(
    tmp_path: Path, text: str, reported: dict[str, Any], violation: float
) -> None:
    spec = spec_of(tmp_path, text)
    assert spec.allows({"contrast.max_views": 7})
    assert spec.violations({}, reported) == {text: pytest.approx(violation, rel=1e-9, abs=0)}


def objective_spec(folder: Path, *metrics: str) -> SearchSpec:
    objectives = [{"metric": metric, "mode": "max"} for metric in metrics]
    space = {"contrast.max_views": {"type": "int", "low": 1, "high": 200}}
    return parse_space({"config": CONFIG, "space": space, "objective": objectives}, folder, "space.yaml")


def test_an_objective_may_be_an_entry_too(tmp_path: Path) -> None:
    assert objective_spec(tmp_path, "iou.bicyclist").objective_entries == {"iou.bicyclist": ("iou", 2)}
    several = objective_spec(tmp_path, "miou", "iou.traffic light", "iou.0")
    assert several.objective_entries == {"iou.traffic light": ("iou", 1), "iou.0": ("iou", 0)}
    assert several.document["objective"][2] == {"metric": "iou.0", "mode": "max"}


@pytest.mark.parametrize(
    ("metrics", "fault"),
    [
        (["iou.bicylist"], '"iou.bicylist" is never reported by the trainable; did you mean iou.bicyclist?'),
        (["iou.3"], '"iou.3" is never reported by the trainable; did you mean iou.'),
        (["ioU.bicyclist"], '"ioU.bicyclist" is never reported by the trainable; did you mean iou.bicyclist?'),
        (
            ["iou"],
            '"iou" is a list of 3 numbers, but an objective is a single number; name an entry of it, such as iou.road',
        ),
        (["iou.road", "iou.0"], '"iou.0" is already an objective; name each metric once'),
    ],
)
def test_a_wrong_entry_as_an_objective_has_its_fault(tmp_path: Path, metrics: list[str], fault: str) -> None:
    with pytest.raises(InputError) as caught:
        objective_spec(tmp_path, *metrics)
    (found,) = map(str, caught.value.faults)
    assert fault in found


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "contrast.max_veiws <= 5",
            "neither a value of the trial config nor a reported metric; did you mean contrast.max_views?",
        ),
        ("iou.bicylist >= 0.15", "the trainable reports no iou.bicylist; did you mean iou.bicyclist?"),
        ("iou.3 >= 0.15", "the trainable reports no iou.3; did you mean"),
        ("iou >= 0.15", "the trainable reports no iou; valid are iou.road, iou.traffic light, iou.bicyclist"),
        ("pixel_acuracy >= 0.5", "did you mean pixel_accuracy?"),
        ("contrast <= 5", "contrast is neither a value of the trial config nor a reported metric"),
        ("contrast.max_views = 5", "no comparison; exactly one is allowed; write it as `path <= number * path`"),
        ("1 <= contrast.max_views <= 5", "2 comparisons; exactly one is allowed; write"),
        ("contrast.max_views + 1 <= 5 5", '"5 5" is neither a number, a name, nor a number times a name; write'),
        ("__import__('os') <= 5", "neither a value of the trial config nor a reported metric"),
        ("1 <= 2", "1 <= 2: compares two fixed numbers; use a value of the trial config or a reported metric"),
        (7, "7 is a number, not text; write it as"),
        ("model.backbone <= 5", 'model.backbone can be "test_efficientnet", which is text; compare numbers'),
        ("contrast.memory <= 5", "contrast.memory can be false, which is a truth value; compare numbers"),
        (
            "contrast.max_views > 200",
            "can never hold: the smaller side is at least 200, the larger at most 200; change",
        ),
        ("contrast.max_views <= 0.5", "can never hold: the smaller side is at least 1, the larger at most 0.5; change"),
        (
            "contrast.max_views <= 50",
            "contrast.max_views <= 50: the default config, which is the first trial, breaks it "
            "(contrast.max_views = 100); change these values in config, or the constraint",
        ),
    ],
)
def test_faults(tmp_path: Path, text: Any, fault: str) -> None:
    faults = faults_of(tmp_path, text)
    assert any(fault in found for found in faults), faults


def test_all_faults_are_told_at_once_and_a_list_is_wanted(tmp_path: Path) -> None:
    assert len(faults_of(tmp_path, "iou.x >= 1", "iou.road >= 0.5", "contrast.max_views > 200")) == 2
    document = {"space": SPACE, "constraints": "x < n", "objective": MIOU}
    with pytest.raises(InputError, match="constraints: is text; it must be a list of text"):
        parse_space(document, tmp_path)


def test_a_trainable_without_a_config_takes_any_name(tmp_path: Path) -> None:
    (tmp_path / "free.py").write_text("def free(config): pass")
    document = {
        "trainable": "free.py:free",
        "config": {"a": {"y": 2}},
        "space": {"a.x": {"type": "float", "low": 0.0, "high": 4.0}},
        "constraints": ["a.x <= a.y", "speed >= 3", "curve.1 >= 3"],
        "objective": {"metric": "score", "mode": "max"},
        "scheduler": {"name": "none"},
    }
    spec = parse_space(document, tmp_path)
    assert [spec.allows({"a.x": x}) for x in (2.0, 2.5)] == [True, False]
    assert spec.violations({}, {"speed": 1, "curve": [9.0, 4.0]}) == {"speed >= 3": 2.0, "curve.1 >= 3": -1.0}
    with pytest.raises(InputError, match=r"a\.z is neither a value of the trial config nor a reported metric"):
        parse_space({**document, "constraints": ["a.z <= 1"]}, tmp_path)


ALGORITHMS = ["tpe", "random", "qmc", "cmaes", "gp", "grid"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_algorithm_starts_what_breaks_a_constraint(algorithm: str, tmp_path: Path) -> None:
    """A tenth of the draws satisfies both constraints, and slope is 0.5 where it is not searched."""
    space = {**SPACE, "x": {**SPACE["x"], "step": 0.1}, "slope": {**SPACE["slope"], "step": 0.1}}
    trials = 8 if algorithm == "gp" else 16
    spec = toy_spec(
        tmp_path,
        space=space,
        config={"x": 0.1, "n": 1},
        constraints=["x <= 0.5 * slope", "n < 40 * x"],
        search={"algorithm": algorithm, "trials": trials, "seed": 3},
    )
    history = run_search(spec, tmp_path / "journal")
    assert len(history.trials) == trials
    for trial in history.trials:
        values = {"slope": 0.5, **trial.values}
        assert values["x"] <= 0.5 * values["slope"]
        assert values["n"] < 40 * values["x"]
    assert {trial.values["kind"] for trial in history.trials} == {"a", "b"}


def test_a_grid_holds_every_combination_that_a_constraint_leaves(tmp_path: Path) -> None:
    space = {"n": {"type": "int", "low": 1, "high": 4}, "x": {"type": "float", "low": 1.0, "high": 4.0, "step": 1.0}}
    search = {"algorithm": "grid", "trials": 100}
    spec = toy_spec(tmp_path, space=space, config={"n": 1, "x": 2.0}, constraints=["n < x"], search=search)
    history = run_search(spec, tmp_path / "journal")
    pairs = {(trial.values["n"], trial.values["x"]) for trial in history.trials}
    assert pairs == {(1, 2.0), (1, 3.0), (1, 4.0), (2, 3.0), (2, 4.0), (3, 4.0)}
    assert len(history.trials) == 6


@pytest.mark.parametrize("algorithm", ["tpe", "random", "qmc", "cmaes"])
def test_a_constraint_that_one_draw_in_a_thousand_holds(algorithm: str, tmp_path: Path) -> None:
    space = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "n": {"type": "int", "low": 1, "high": 100}}
    search = {"algorithm": algorithm, "trials": 9, "seed": 0}
    spec = toy_spec(tmp_path, space=space, config={"x": 0.0, "n": 100}, constraints=["100 * x <= 0.1"], search=search)
    for number in range(1, 4):
        values = suggest(spec, History(), number)
        assert values is not None
        assert values["x"] <= 0.001


def test_a_strict_constraint_is_violated_where_both_sides_are_equal(tmp_path: Path) -> None:
    (constraint,) = spec_of(tmp_path, "contrast.max_views < 150").constraints
    assert isinstance(constraint, Constraint)
    assert constraint.violation(lambda path: 150) > 0.0 >= constraint.violation(lambda path: 149)


# Floors on what is reported


def search_with_floor(folder: Path, floor: str, losses: list[list[float]], algorithm: str = "tpe") -> History:
    """Run trials by hand; each reports (score, loss) pairs, one per iteration."""
    spec = toy_spec(folder, constraints=[floor], search={"algorithm": algorithm, "trials": len(losses), "seed": 0})
    with Journal(folder / "study.journal") as journal:
        search = Search(spec, journal)
        for number, curve in enumerate(losses):
            assert search.propose() is not None
            for iteration, (score, loss) in enumerate(zip(curve[::2], curve[1::2], strict=True), start=1):
                metrics = {"loss": loss} if loss else {}
                done = 2 * iteration == len(curve)
                common: dict[str, Any] = {"checkpoint": None, "seconds": 1.0, "done": done}
                search.take(number, Report(iteration=iteration, value=score, metrics=metrics, **common))
    return read_history(folder / "study.journal")


def test_a_trial_whose_best_report_breaks_a_floor_wins_only_where_none_holds_it(tmp_path: Path) -> None:
    """Trial 0 has the best score but violates the floor there; trial 1 violates it early and meets it at its best."""
    history = search_with_floor(tmp_path, "loss <= 0.5", [[0.9, 0.8], [0.3, 0.9, 0.6, 0.4], [0.5, 0.1], [0.95, 0]])
    assert [trial.broken("max") for trial in history.trials] == [
        {"loss <= 0.5": pytest.approx(0.3)},
        {},
        {},
        {"loss <= 0.5": UNKNOWN_VIOLATION},
    ]
    assert [history.is_admissible(trial) for trial in history.trials] == [False, True, True, False]
    assert [trial.number for trial in history.ranked()] == [1, 2, 0, 3]
    assert history.best_trial() is history.trials[1]
    table = trials_table(history).to_pylist()
    assert [row["breaks"] for row in table] == ["loss <= 0.5", None, None, "loss <= 0.5"]
    study = optuna.load_study(
        study_name="toy", storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    )
    told = [trial.constraints.get("loss <= 0.5", 0.0) for trial in study.trials]
    assert told == pytest.approx([0.3, 0.0, 0.0, 1.0])


def test_where_no_trial_holds_a_floor_the_nearest_wins_and_it_is_said(tmp_path: Path) -> None:
    history = search_with_floor(tmp_path, "loss <= 0.5", [[0.9, 0.8], [0.5, 0.7], [0.6, 0.7]])
    assert history.best_trial() is history.trials[2]
    assert not any(history.is_admissible(trial) for trial in history.trials)
    spec = toy_spec(tmp_path, constraints=["loss <= 0.5"])
    document = best_document(spec, history)
    assert document is not None
    assert (document["raysearch"]["trial"], document["raysearch"]["breaks"]) == (2, ["loss <= 0.5"])
    info = winner_info(SearchView(history, "score"))
    assert info is not None
    said = [part.text for part in winner_parts(info) if isinstance(part, Text)]
    assert said[0] == "No trial meets every constraint. The winner breaks loss <= 0.5 (by 0.2)."


def test_the_best_so_far_and_a_confirmation_hold_the_floors(tmp_path: Path) -> None:
    history = search_with_floor(tmp_path, "loss <= 0.5", [[0.9, 0.8], [0.3, 0.4], [0.5, 0.1], [0.95, 0.9]])
    assert history_info(SearchView(history, "score")).incumbents == ((0, 0.9), (1, 0.3), (2, 0.5))
    run_dir = RunDir(tmp_path)
    rows = [
        {"trial": number, "seed": 1, "value": value, "iteration": 8, "split": "val", "val_value": value}
        for number, value in ((0, 0.9), (2, 0.5))
    ]
    write_confirmed(rows, 1, run_dir)
    confirmation = read_confirmation(run_dir, history)
    assert confirmation is not None
    assert [trial.number for trial in confirmation.trials] == [2, 0]


@pytest.mark.parametrize("algorithm", ["tpe", "gp", "cmaes"])
def test_model_based_search_keeps_to_a_floor(algorithm: str, tmp_path: Path) -> None:
    """Score and loss rise with x; the loss violates its limit beyond x = 0.5."""
    trials = 14 if algorithm == "gp" else 40
    spec = toy_spec(
        tmp_path,
        space={name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("x", "slope")},
        constraints=["loss <= 0.5"],
        search={"algorithm": algorithm, "trials": trials, "seed": 0},
        scheduler={"name": "none", "max_iters": 8},
    )
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        while (proposal := search.propose()) is not None:
            x = proposal.config["x"]
            common: dict[str, Any] = {"checkpoint": None, "seconds": 1.0, "done": True}
            search.take(proposal.number, Report(iteration=8, value=x, metrics={"loss": x}, **common))
        history = search.history
    late = history.trials[trials // 2 :]
    assert sum(trial.values["x"] <= 0.55 for trial in late) >= 0.5 * len(late), "they keep to where it holds"
    best = history.best_trial()
    assert best is not None
    assert 0.4 < best.values["x"] <= 0.5
