from pathlib import Path
from typing import Any

import pytest

from raysearch.commands import search_commands
from raysearch.errors import InputError
from raysearch.history.events import Ended, Report
from raysearch.history.history import read_history
from raysearch.history.journal import Journal, read_facts
from raysearch.history.run_dir import RunDir
from raysearch.report.comparison import (
    ComparedRun,
    Progress,
    comparable_info,
    comparable_parts,
    config_parts,
    differences,
    progress_of,
    search_rows,
    winners_rows,
    write_comparison,
)
from raysearch.report.parts import Table, Text
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from tests.raysearch.report.histories import history_of, trial
from tests.raysearch.toy import run_search, toy_spec


def test_progress_counts_what_was_trained_and_only_what_may_win(tmp_path: Path) -> None:
    spec = toy_spec(tmp_path, scheduler={"name": "none", "max_iters": 30})
    with Journal(tmp_path / "j") as journal:
        search = Search(spec, journal)
        for _ in range(3):
            search.propose()
        reports: list[tuple[int, int, float, dict[str, Any]]] = [
            (0, 10, 0.3, {}),
            (1, 10, 0.9, {}),  # will be infeasible
            (0, 20, 0.2, {}),
            (2, 20, 0.4, {"iterations_shared": 15}),
            (2, 30, 0.4, {}),
        ]
        for number, iteration, value, metrics in reports:
            search.take(
                number,
                Report(iteration=iteration, value=value, metrics=metrics, checkpoint=None, seconds=900.0, done=False),
            )
        search.take(1, Ended("infeasible", "out of memory"))
    found = progress_of(read_facts(tmp_path / "j"), read_history(tmp_path / "j"))
    assert found == [Progress(10, 0.25, 0.3), Progress(35, 1.0, 0.4), Progress(45, 1.25, 0.4)]


def _run(label: str, folder: Path, **sections: Any) -> ComparedRun:
    spec = toy_spec(folder, **sections)
    history = history_of(
        trial({"x": 0.9, "n": 3, "kind": "a"}, [0.2], is_default=True), trial({"x": 0.25, "n": 3, "kind": "a"}, [0.5])
    )
    return ComparedRun(label, spec, history, (Progress(16, 0.5, 0.5),))


def test_searches_that_can_be_compared(tmp_path: Path) -> None:
    runs = [
        _run("a", tmp_path),
        _run("b", tmp_path, search={"algorithm": "random", "trials": 24, "seed": 3}),
    ]
    info = comparable_info(runs)
    assert info.obstacles == ()
    assert info.differences == ()
    text, _ = comparable_parts(runs)
    assert isinstance(text, Text)
    assert text.text.startswith("The scores can be compared: ")
    assert search_rows(runs) == [("search.algorithm", ("tpe", "random"))]
    rows = dict(winners_rows(runs))
    assert "confirmed" not in rows
    assert [rows[name] for name in ("best value", "trial", "default", "time of trials", "x")] == [
        ("0.5", "0.5"),
        ("1", "1"),
        ("0.2", "0.2"),
        ("30 min", "30 min"),
        ("0.25", "0.25"),
    ]
    assert config_parts(runs) == [Text("Apart from the searched values in the table above, the configs are equal.")]


def test_another_metric_or_budget_is_said_plainly(tmp_path: Path) -> None:
    scheduler = {"name": "asha", "grace_iters": 2, "reduction_factor": 2, "max_iters": 16}
    objective = {"metric": "loss", "mode": "min"}
    runs = [_run("a", tmp_path), _run("b", tmp_path, scheduler=scheduler, objective=objective)]
    text, *_ = comparable_parts(runs)
    what = "the metric is score (max), loss (min); the full budget is 8, 16"
    assert text == Text(f"The scores of these searches cannot be compared: {what}.")


def test_another_dataset_is_said_plainly(tmp_path: Path) -> None:
    def run(size: list[int]) -> ComparedRun:
        config = {"data": {"drawn": {"size": size}}}
        space = {"optim.lr": {"type": "float", "low": 0.001, "high": 0.1}}
        document = {"name": "d", "config": config, "space": space, "objective": {"metric": "miou", "mode": "max"}}
        return ComparedRun(str(size), parse_space(document, tmp_path, "d.yaml"), history_of(), ())

    runs = [run([32, 48]), run([64, 64])]
    assert comparable_info(runs).obstacles == ("data.drawn.size is [32, 48], [64, 64]",)
    assert comparable_info([runs[0], runs[0]]).obstacles == ()


def test_configs_differ_by_path() -> None:
    configs: list[dict[str, Any]] = [{"a": {"b": 1, "c": 0.1}}, {"a": {"b": 2, "c": 0.1}, "d": None}]
    assert differences(configs) == [("a.b", ("1", "2")), ("d", ("—", "null"))]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = []
    for name, seed in (("first", 1), ("second", 2)):
        run_dir = RunDir.create("toy", tmp_path / name)
        spec = toy_spec(tmp_path, search={"algorithm": "random", "trials": 6, "seed": seed})
        run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
        run_search(spec, run_dir.journal)
        made.append(run_dir.root)
    return made


def test_a_page_about_several_runs_leaves_their_folders_alone(folders: list[Path], tmp_path: Path) -> None:
    before = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    page = write_comparison(folders, tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert [sorted(path.name for path in folder.iterdir()) for folder in folders] == before
    for title in ("Can they be compared?", "Best so far", "Winners", "Configs of the winners", "Searches"):
        assert f"<h2>{title}</h2>" in page
    assert "<th>first</th><th>second</th>" in page
    assert page.count('class="plot"') == 2
    assert len(page) < 2_000_000


def test_all_wrong_folders_are_named_at_once(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_comparison([folders[0], tmp_path / "none", tmp_path, folders[0]], tmp_path / "c.html")
    assert [fault.where for fault in caught.value.faults] == [str(tmp_path / "none"), str(tmp_path), "report"]
    assert not (tmp_path / "c.html").exists()


def test_what_no_search_varies_is_named_where_it_differs(tmp_path: Path) -> None:
    space = {"x": {"type": "float", "low": 0.0, "high": 1.0}}
    runs = [_run(name, tmp_path, config={"slope": slope}, space=space) for name, slope in (("a", 0.5), ("b", 0.7))]
    text, _, table = comparable_parts(runs)
    assert isinstance(text, Text)
    assert text.text.startswith("The scores can be compared: ")
    assert isinstance(table, Table)
    assert (table.header, table.rows) == (("path", "a", "b"), (("slope", "0.5", "0.7"),))
    _, of_winners = config_parts(runs)
    assert isinstance(of_winners, Table)
    assert of_winners.rows == (("slope", "0.5", "0.7"),)


def test_the_report_of_one_run_has_its_place(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="applies to a comparison of several runs"):
        search_commands.report([folders[0]], tmp_path / "c.html")
    assert not (tmp_path / "c.html").exists()
