import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from raysearch.algorithms import suggest
from raysearch.errors import InputError
from raysearch.execution.preflight import preflight
from raysearch.history.events import Report
from raysearch.history.history import History, TrialHistory, read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import trials_table, write_table
from raysearch.results.export import best_document
from raysearch.search.search import Search
from raysearch.search.warm_start import read_prior
from raysearch.space.parsing import load_space, parse_space
from raysearch.space.spec import SearchSpec
from tests.raysearch.algorithms.test_algorithms import spec_for
from tests.raysearch.toy import SPACE, facts, leave_journal, run_search, toy_spec

SPACES = Path(__file__).parents[3] / "search_spaces"


def warm(folder: Path, *sources: Path | str, search: dict[str, Any] | None = None, **sections: Any) -> SearchSpec:
    settings = {"algorithm": "tpe", "trials": 16, "seed": 4, "warm_start": [str(source) for source in sources]}
    return toy_spec(folder, search={**settings, **(search or {})}, **sections)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a folder with a run of 24 trials, `earlier`."""
    folder = tmp_path_factory.mktemp("work")
    spec = toy_spec(folder)
    run_dir = RunDir.create("toy", folder / "earlier")
    run_dir.space.write_text(spec.to_yaml())
    run_search(spec, run_dir.journal)
    return folder


@pytest.fixture(scope="module")
def earlier(workplace: Path) -> History:
    return read_history(workplace / "earlier" / "study.journal")


def notes(folder: Path, *rows: dict[str, Any], name: str = "notes.csv") -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def first_values(spec: SearchSpec) -> list[dict[str, Any]]:
    return [dict(point.values) for point in read_prior(spec).first_points]


# Evidence


def test_a_run_of_the_same_circumstances_is_evidence(workplace: Path, earlier: History, tmp_path: Path) -> None:
    """Every ended trial is passed with its curve; an earlier trial is not a row, cannot win and does not count."""
    spec = warm(workplace, "earlier")
    history = run_search(spec, tmp_path / "study.journal")
    assert [t.number for t in history.evidence] == list(range(-24, 0))
    assert {t.status for t in history.evidence} == {"completed", "stopped", "infeasible"}
    for told, trial in zip(history.evidence, earlier.trials, strict=True):
        assert (told.status, told.reports, told.error) == (trial.status, trial.reports, trial.error)
        inactive = {"slope"} if trial.values["kind"] == "a" else set()
        assert told.params == {path: v for path, v in trial.values.items() if path not in inactive}
    assert [t.end_order for t in sorted(history.evidence, key=lambda t: t.end_order or 0)] == list(range(-24, 0))
    assert len(history.trials) == 16
    assert history.trials[0].is_default
    assert trials_table(history)["trial"].to_pylist() == list(range(16))
    winner = history.best_trial()
    assert winner is history.trials[winner.number if winner else 0]


@pytest.mark.parametrize("algorithm", ["tpe", "gp", "cmaes"])
def test_what_is_known_brings_a_search_nearer(algorithm: str, tmp_path: Path) -> None:
    """After 40 points of a bowl, the first suggestion is on average nearer its minimum than without them."""
    space = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("x", "slope")}
    spec = toy_spec(tmp_path, space=space, search={"algorithm": algorithm, "trials": 9, "seed": 0})
    distributions = {parameter.path: parameter.distribution for parameter in spec.parameters}
    known = History()
    for number in range(40):
        values = {"x": (number % 8) / 7, "slope": (number // 8) / 4}
        trial = TrialHistory(number - 40, values, values, distributions, started=0.0, is_default=False)
        value = -((values["x"] - 0.3) ** 2) - (values["slope"] - 0.7) ** 2
        trial.reports[8] = Report(8, value, {}, None, 1.0, done=False)
        trial.status, trial.end_order = "completed", number - 40
        known.evidence.append(trial)

    def distance(history: History) -> float:
        points = [suggest(spec, history, number) or {} for number in range(1, 9)]
        return sum((p["x"] - 0.3) ** 2 + (p["slope"] - 0.7) ** 2 for p in points) / 8

    assert distance(known) < distance(History())


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        (
            {"scheduler": {"name": "asha", "grace_iters": 2, "reduction_factor": 2, "max_iters": 16}},
            "the full budget is 8 there and 16 here",
        ),
        ({"objective": {"metric": "score", "mode": "min"}}, "the objective is max score there and min score here"),
        ({"trainable": "other.py:Toy"}, "the trainable is"),
        ({"constraints": ["score >= -5"]}, "the constraints on reports is nothing there and score >= -5 here"),
    ],
)
def test_scores_of_other_circumstances_are_not_evidence(
    sections: dict[str, Any], reason: str, workplace: Path, earlier: History
) -> None:
    shutil.copy(workplace / "toy.py", workplace / "other.py")
    prior = read_prior(warm(workplace, "earlier", **sections))
    best = earlier.best_trial()
    assert best is not None
    assert not prior.evidence
    assert len(prior.first_points) == 5
    assert prior.first_points[0].values == best.values
    assert any(reason in notice for notice in prior.notices)


def num_trials(records: tuple[Mapping[str, Any], ...]) -> int:
    return sum(record["op_code"] == 4 for record in records)


def test_a_config_unlike_in_a_path_that_is_not_searched_is_not_evidence(workplace: Path, earlier: History) -> None:
    """The trials are compared one by one: those that tried the value that is fixed here are evidence."""
    fixed = {path: words for path, words in SPACE.items() if path != "n"}
    prior = read_prior(warm(workplace, "earlier", space=fixed, config={"n": 3}))
    assert num_trials(prior.evidence) == sum(trial.values["n"] == 3 for trial in earlier.trials)
    assert any("does not learn from them: configs differ in n" in notice for notice in prior.notices)
    prior = read_prior(warm(workplace, "earlier", space=fixed, config={"n": 1000}))
    assert not prior.evidence
    assert len(prior.first_points) == 5


def test_what_lies_outside_the_space_is_not_evidence(workplace: Path, earlier: History) -> None:
    space = {**SPACE, "x": {"type": "float", "low": 0.5, "high": 1.0}}
    prior = read_prior(warm(workplace, "earlier", space=space))
    assert num_trials(prior.evidence) == sum(trial.values["x"] >= 0.5 for trial in earlier.trials)
    assert 0 < num_trials(prior.evidence) < len(earlier.trials)
    assert all(point.values["x"] == 0.5 for point in prior.first_points)


def test_what_breaks_a_constraint_is_neither_evidence_nor_tried(workplace: Path, earlier: History) -> None:
    prior = read_prior(warm(workplace, "earlier", constraints=["n <= 10"]))
    assert num_trials(prior.evidence) == sum(trial.values["n"] <= 10 for trial in earlier.trials)
    assert 0 < num_trials(prior.evidence) < len(earlier.trials)
    assert not prior.first_points
    assert any("skipped, because it breaks a constraint" in notice for notice in prior.notices)


def test_what_did_not_fit_is_evidence_for_the_same_resources_only(workplace: Path, earlier: History) -> None:
    statuses = [trial.status for trial in earlier.trials]
    assert statuses.count("infeasible") > 0
    prior = read_prior(warm(workplace, "earlier", resources={"cpu": 1, "gpu": 1}))
    assert num_trials(prior.evidence) == len(statuses) - statuses.count("infeasible")
    prior = read_prior(warm(workplace, "earlier", resources={"cpu": 1, "concurrent": 2}))
    assert num_trials(prior.evidence) == len(statuses)


def test_a_run_that_no_longer_loads_gives_first_points(workplace: Path, earlier: History, tmp_path: Path) -> None:
    shutil.copytree(workplace / "earlier", tmp_path / "earlier")
    space = tmp_path / "earlier" / "space.yaml"
    space.write_text(space.read_text().replace("toy.py", "gone.py"))
    prior = read_prior(warm(tmp_path, "earlier"))
    best = earlier.best_trial()
    assert best is not None
    assert not prior.evidence
    assert prior.first_points[0].values == best.values
    assert any("no longer loads" in notice for notice in prior.notices)


@pytest.mark.parametrize("algorithm", ["grid", "random", "qmc"])
def test_an_algorithm_that_does_not_learn_says_so(algorithm: str, workplace: Path) -> None:
    sections = {"space": {"kind": SPACE["kind"]}} if algorithm == "grid" else {}
    spec = warm(workplace, "earlier", search={"algorithm": algorithm}, **sections)
    assert any(f"{algorithm} does not learn from scores" in notice for notice in read_prior(spec).notices)


# First points

ROWS = (
    {"x": 0.25, "n": 8, "kind": "a", "slope": "", "score": 0.5, "dataset": "small", "iteration": 100, "note": "plain"},
    {"x": 0.5, "n": 16, "kind": "b", "slope": 0.75, "score": 0.75, "dataset": "small", "iteration": "", "note": "x, y"},
    {"x": "", "n": 32, "kind": "", "slope": 0.5, "score": 0.1, "dataset": "large", "iteration": "", "note": ""},
)
POINTS = [
    {"x": 0.5, "n": 16, "kind": "b", "slope": 0.75},  # the best of the first dataset
    {"x": 0.9, "n": 32, "kind": "a"},  # the best of the second; open values come from the config, slope is inactive
    {"x": 0.25, "n": 8, "kind": "a"},
]


def test_rows_of_notes_are_tried_first_best_of_every_dataset_in_turn(tmp_path: Path) -> None:
    spec = warm(tmp_path, notes(tmp_path, *ROWS))
    history = run_search(spec, tmp_path / "study.journal")
    assert not history.evidence
    assert history.trials[0].is_default
    assert [trial.values for trial in history.trials[1:4]] == POINTS
    assert [trial.origin for trial in history.trials[:5]] == [
        "default config",
        "first point: notes.csv row 3 (score 0.75, dataset small)",
        "first point: notes.csv row 4 (score 0.1, dataset large)",
        "first point: notes.csv row 2 (score 0.5, 100 iterations, dataset small)",
        None,
    ]
    assert trials_table(history)["origin"].to_pylist() == [trial.origin for trial in history.trials]


def test_a_parquet_table_says_the_same(tmp_path: Path) -> None:
    rows = [{key: None if value == "" else value for key, value in row.items()} for row in ROWS]
    for row in rows:
        row["iteration"] = None if row["iteration"] is None else str(row["iteration"])
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "notes.parquet")
    assert read_prior(warm(tmp_path, "notes.parquet")).first_points[0].values == POINTS[0]
    assert first_values(warm(tmp_path, "notes.parquet")) == POINTS


def test_a_table_of_trials_and_a_best_config_are_taken(workplace: Path, earlier: History) -> None:
    best = earlier.best_trial()
    document = best_document(toy_spec(workplace), earlier)
    assert best is not None
    write_table(trials_table(earlier), workplace / "trials.parquet")
    (workplace / "best_config.json").write_text(json.dumps(document))
    for source in ("trials.parquet", "best_config.json"):
        assert first_values(warm(workplace, source))[0] == best.values, source
    assert len(first_values(warm(workplace, "trials.parquet", "best_config.json"))) == 5, "the same point is tried once"


def test_datasets_with_many_scores_are_tried_by_what_is_good_for_all(tmp_path: Path) -> None:
    rows = []
    for dataset, optimum in (("a", 0.2), ("b", 0.25), ("c", 0.8)):
        xs = [i / 10 + optimum / 100 for i in range(10)]
        rows += [{"x": x, "n": 3, "kind": "a", "dataset": dataset, "score": -abs(x - optimum)} for x in xs]
    first, second, *_ = first_values(warm(tmp_path, notes(tmp_path, *rows)))
    assert abs(first["x"] - 0.2) < 0.15
    assert abs(second["x"] - 0.8) < 0.15
    assert len(first_values(warm(tmp_path, notes(tmp_path, *rows)))) == 5


def test_in_a_group_the_order_is_by_score_and_no_score_comes_last(tmp_path: Path) -> None:
    path = notes(tmp_path, {"x": 0.1, "score": ""}, {"x": 0.2, "score": 0.3}, {"x": 0.3, "score": 0.6})
    assert [values["x"] for values in first_values(warm(tmp_path, path))] == [0.3, 0.2, 0.1]
    down = warm(tmp_path, path, objective={"metric": "score", "mode": "min"})
    assert [values["x"] for values in first_values(down)] == [0.2, 0.3, 0.1]


def test_points_are_distinct_and_as_many_as_asked_for(tmp_path: Path) -> None:
    rows = [{"x": x, "kind": "a", "score": score} for x, score in ((0.9, 5), (0.2, 4), (0.2, 3), (0.4, 2), (0.6, 1))]
    path = notes(tmp_path, *rows)
    expected = [0.2, 0.4, 0.6]  # 0.9 is the default trial
    assert [values["x"] for values in first_values(warm(tmp_path, path))] == expected
    two = warm(tmp_path, path, search={"first_points": 2})
    assert [values["x"] for values in first_values(two)] == expected[:2]
    assert first_values(warm(tmp_path, path, search={"first_points": 0})) == []


def test_what_the_space_does_not_hold_is_moved_or_passed_over(tmp_path: Path) -> None:
    path = notes(
        tmp_path,
        {"x": 3.0, "n": 0, "kind": "a", "score": 3},
        {"x": 0.5, "n": 5, "kind": "c", "score": 2},
        {"x": -1, "n": 100.0, "kind": "b", "score": 1},
    )
    spec = warm(tmp_path, path)
    assert first_values(spec) == [{"x": 1.0, "n": 1, "kind": "a"}, {"x": 0.0, "n": 100, "kind": "b", "slope": 0.5}]
    told = "\n".join(read_prior(spec).notices)
    assert "notes.csv row 2: x = 3.0 is not searched (0.0 to 1.0): moved to the nearest value; so in 1 more" in told
    assert 'notes.csv row 3: kind = "c" is not searched ("a", "b"): the point is skipped' in told


def test_a_grid_tries_them_first_and_still_everything_once(tmp_path: Path) -> None:
    path = notes(tmp_path, {"x": 0.6, "n": 3, "kind": "b", "slope": 0.68, "score": 1})
    grid = spec_for("grid", tmp_path, trials=1000)
    spec = toy_spec(tmp_path, space=grid.document["space"], search={**grid.document["search"], "warm_start": str(path)})
    history = run_search(spec, tmp_path / "study.journal")
    first = history.trials[1]
    assert first.values == {"x": 0.5, "n": 3, "kind": "b", "slope": 0.1 + 0.3 * 2}
    assert first.origin is not None
    values = [tuple(sorted(trial.values.items())) for trial in history.trials if not trial.is_default]
    assert len(values) == len(set(values)) == 5 * 3 * (1 + 4)


def test_without_a_config_model_any_path_of_the_space_goes_and_numbers_start_at_0(tmp_path: Path) -> None:
    path = notes(tmp_path, {"rate": 0.5, "method": "plain", "momentum": "", "slope": 0.05, "loss": 1.0})
    spec = load_space(SPACES / "quadratic.yaml", [f"search.warm_start={path}"])
    with Journal(tmp_path / "study.journal") as journal:
        search = Search(spec, journal)
        assert search.propose() is not None
        assert search.history.trials[0].values == {"rate": 0.5, "method": "plain"}
    open_values = notes(tmp_path, {"method": "momentum", "loss": 1.0}, name="open.csv")
    spec = load_space(SPACES / "quadratic.yaml", [f"search.warm_start={open_values}"])
    [values] = first_values(spec)
    assert values == {"rate": pytest.approx(10**-1.5), "method": "momentum", "momentum": pytest.approx(0.475)}


# Faults


def test_faults_are_told_all_at_once_with_row_column_value_rule_and_fix(tmp_path: Path) -> None:
    path = notes(
        tmp_path,
        {"x": "high", "n": 8.5, "kind": "a", "slop": 1, "score": 0.5},
        {"x": 0.5, "n": "true", "kind": "a", "slop": 1, "score": "good"},
    )
    with pytest.raises(InputError) as caught:
        read_prior(warm(tmp_path, path, tmp_path / "gone.csv", tmp_path))
    assert [str(fault) for fault in caught.value.faults] == [
        f"{path}: column slop: is neither a value of the trial config nor another known column of notes; "
        "did you mean slope?",
        f'{path}: row 2: x: "high" is not valid here: numbers are searched, 0.0 to 1.0; '
        "give one, or leave the cell empty",
        f"{path}: row 2: n: 8.5 is not valid here: whole numbers are searched, 1 to 100; "
        "give one, or leave the cell empty",
        f"{path}: row 3: n: true is not valid here: whole numbers are searched, 1 to 100; "
        "give one, or leave the cell empty",
        f'{path}: row 3: score: "good" is text, but a score is a number; give a number, or leave the cell empty',
        f"search.warm_start: {tmp_path / 'gone.csv'}: there is no such file or folder; check the path",
        f"{tmp_path}: is not the folder of a run, because it holds no study.journal; name one that does",
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("notes.csv", b"", "is empty; its first row must name the columns"),
        ("notes.csv", b"x,score\n0.5,1,2\n", "row 2: has 3 cells for 2 columns"),
        ("notes.csv", b"x,x,score\n0.5,0.5,1\n", "column x: is given a second time; keep one"),
        (
            "notes.csv",
            b",x,score\n0,0.5,1\n",
            "notes.csv: column 1 of 3: has no name in the first row; name it, for example note",
        ),
        ("notes.csv", b"x,n\n0.5,1\n", "no column holds the score; name it score, score or value"),
        ("notes.csv", b"x,score\n\xff,1\n", "is not UTF-8 text"),
        ("notes.parquet", b"PAR1", "cannot be read"),
        ("best.json", b'{"y": 1}', "y: the trial config has no such value"),
        ("best.json", b"{", "line 1"),
        ("notes.txt", b"x", "is neither the folder of a run nor a file that ends in"),
    ],
)
def test_files_that_cannot_be_taken(name: str, content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=expected.split(";")[0]) as caught:
        read_prior(warm(tmp_path, name))
    assert expected in str(caught.value.faults[0])


def test_a_check_tells_them_beside_those_of_the_trainable(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        preflight(warm(tmp_path, "gone.csv"))
    assert ["Toy is not a subclass" in str(f) for f in caught.value.faults] == [True, False]
    assert "gone.csv" in str(caught.value.faults[1])


def test_a_point_that_breaks_a_rule_of_the_config_is_passed_over(tmp_path: Path) -> None:
    document = {
        "space": {
            "contrast.loss_weight": {"type": "float", "low": 0.0, "high": 1.0},
            "loss.ce_coef": {"type": "float", "low": 0.0, "high": 1.0},
        },
        "objective": {"metric": "miou", "mode": "max"},
        "search": {"warm_start": "notes.csv"},
    }
    rows = [{"contrast.loss_weight": weight, "loss.ce_coef": 0, "score": -weight} for weight in (0, 1)]
    notes(tmp_path, *rows)
    prior = read_prior(parse_space(document, tmp_path))
    assert [point.values["contrast.loss_weight"] for point in prior.first_points] == [1.0]
    assert any("row 2: skipped" in notice and "nothing would be trained" in notice for notice in prior.notices)


# The journal


def test_the_search_is_a_function_of_its_journal_alone(workplace: Path, tmp_path: Path) -> None:
    """A search cut anywhere after the first line of its journal ends as it would have, without its earlier sources."""
    shutil.copytree(workplace / "earlier", tmp_path / "earlier")
    spec = warm(tmp_path, "earlier", notes(tmp_path, *ROWS), search={"trials": 8})
    expected = run_search(spec, tmp_path / "study.journal")
    data = (tmp_path / "study.journal").read_bytes()
    begun = data.index(b"\n") + 1
    cut = tmp_path / "cut.journal"
    leave_journal(cut, data[: begun - 1])
    assert facts(run_search(spec, cut)) == facts(expected), "a torn beginning begins again"
    shutil.rmtree(tmp_path / "earlier")
    (tmp_path / "notes.csv").unlink()
    for end in range(begun, len(data), (len(data) - begun) // 8):
        leave_journal(cut, data[:end])
        assert facts(run_search(spec, cut)) == facts(expected), f"cut at byte {end}"


@pytest.mark.parametrize("algorithm", ["tpe", "qmc", "grid", "cmaes"])
def test_a_warm_search_is_extended_as_any_other(algorithm: str, workplace: Path, tmp_path: Path) -> None:
    def spec_of(trials: int) -> SearchSpec:
        spec = spec_for(algorithm, workplace, trials)
        sources = {"warm_start": ["earlier", str(notes(tmp_path, *ROWS))]}
        return toy_spec(workplace, space=spec.document["space"], search={**spec.document["search"], **sources})

    long = run_search(spec_of(12), tmp_path / "long.journal")
    short = spec_of(3)  # the first points are not all tried
    run_search(short, tmp_path / "short.journal")
    with Journal(tmp_path / "short.journal") as journal:
        Search(short, journal).extend(9)
    assert facts(run_search(short, tmp_path / "short.journal")) == facts(long)


def test_optuna_reads_such_a_journal(workplace: Path, tmp_path: Path) -> None:
    run_search(warm(workplace, "earlier", notes(tmp_path, *ROWS), search={"trials": 6}), tmp_path / "study.journal")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    study = optuna.load_study(study_name="toy", storage=storage)
    assert [trial.number for trial in study.trials] == list(range(6))
    assert study.trials[1].user_attrs["origin"] == "first point: notes.csv row 3 (score 0.75, dataset small)"
    assert study.trials[1].params == POINTS[0]


# The space file


def test_paths_start_at_the_space_file_and_overrides_at_the_working_directory(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, search={"warm_start": ["a.csv", "~/b.csv", "/c.csv"]})
    expected = (str(tmp_path / "a.csv"), str(Path("~/b.csv").expanduser()), "/c.csv")
    assert spec.search.warm_start == expected
    assert spec.document["search"]["warm_start"] == list(expected)
    assert toy_spec(tmp_path, search={"warm_start": "a.csv"}).document["search"]["warm_start"] == expected[0]
    file = tmp_path / "space.yaml"
    file.write_text(spec.to_yaml())
    assert load_space(file) == spec
    for override in ("search.warm_start=d.csv", "search.warm_start=[d.csv]", "search={warm_start: d.csv}"):
        overridden = load_space(file, [override], cwd=Path("/elsewhere"))
        assert overridden.search.warm_start == ("/elsewhere/d.csv",), override
    untouched = load_space(file, ["search.trials=8"], cwd=Path("/elsewhere"))
    assert untouched.search.warm_start == expected


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"warm_start": 5}, "search.warm_start: 5 is a number; give a path, or a list of paths"),
        ({"warm_start": [5]}, "search.warm_start"),
        ({"first_points": -1}, "search.first_points: -1 must be greater than or equal to 0"),
    ],
)
def test_wrong_settings(search: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        toy_spec(tmp_path, search=search)
    assert expected in str(caught.value.faults[0])


@pytest.mark.parametrize("space", ["camvid", "demo", *sorted(path.stem for path in SPACES.glob("notes_*.yaml"))])
def test_the_notebook_goes_with_every_shipped_space(space: str) -> None:
    spec = load_space(SPACES / f"{space}.yaml", [f"search.warm_start={SPACES / 'notes_prior.csv'}"])
    prior = read_prior(spec)
    assert not prior.evidence
    assert 2 <= len(prior.first_points) <= 5
    for point in prior.first_points:
        spec.trial_config(point.values)
    by_path = {parameter.path: parameter.distribution for parameter in spec.parameters}
    for point in prior.first_points:
        assert all(by_path[p]._contains(by_path[p].to_internal_repr(v)) for p, v in point.values.items())
