"""Tests of TensorBoard's files: every point of the journal is in them exactly once, whatever happened."""

import math
import struct
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from raysearch.history.events import Report
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.observers.scalars import ReportScalars
from raysearch.observers.tensorboard import TensorBoard
from raysearch.search.run import Run
from raysearch.search.search import Search
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec
from tests.raysearch.report.histories import history_of, trial
from tests.raysearch.toy import run_trial, toy_spec

Curves = dict[str, list[tuple[int, Any]]]
"""Steps and values, which are compared approximately."""


def events(folder: Path) -> list[Event]:
    (file,) = [path for path in folder.iterdir() if "tfevents" in path.name]
    data, found = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def curves(folder: Path) -> Curves:
    found: Curves = {}
    for event in events(folder):
        for value in event.summary.value:
            if not value.tag.startswith("_hparams_"):
                found.setdefault(value.tag, []).append((event.step, pytest.approx(value.simple_value)))
    return found


def expected(reports: dict[int, Report]) -> Curves:
    rows = sorted(reports.items())
    return {
        "score": [(iteration, report.value) for iteration, report in rows],
        "loss": [(iteration, report.metrics["loss"]) for iteration, report in rows],
        "cost": [(iteration, report.metrics["cost"]) for iteration, report in rows],
    }


class Killed(BaseException):
    pass


def search_on(run_dir: RunDir, spec: SearchSpec, num_reports: int = 1000) -> Search:
    """Run or resume a search until `num_reports` reports, without closing anything."""
    with Journal(run_dir.journal) as journal:
        search = Search(spec, journal)
        board = TensorBoard()
        board.begin(Run(run_dir, spec, search.history))
        search.take_changed()
        made: list[None] = []

        def look() -> None:
            board.update(search.take_changed())
            made.append(None)
            if len(made) == num_reports:
                raise Killed

        while (proposal := search.propose()) is not None:
            run_trial(search, proposal, after_report=look)
        board.update(search.take_changed())
        board.rest()
        return search


def test_a_search_is_written_point_by_point(tmp_path: Path) -> None:
    run_dir = RunDir.create("toy", tmp_path / "run")
    search = search_on(run_dir, toy_spec(tmp_path))
    assert len(list(run_dir.tensorboard.iterdir())) == 24
    for one in search.history.trials:
        folder = run_dir.tensorboard / f"trial-{one.number:05d}"
        assert curves(folder) == expected(one.reports)
        assert len(list(folder.iterdir())) == 1, "no mark is left"
        values = [value for event in events(folder) for value in event.summary.value]
        plugin = [value.metadata.plugin_data.content for value in values if value.HasField("metadata")]
        start = HParamsPluginData.FromString(plugin[1]).session_start_info.hparams
        assert start["x"].number_value == one.values["x"]
        assert start["kind"].string_value == one.values["kind"]
        assert len(plugin) == (2 if one.status == "infeasible" else 3)


@pytest.mark.parametrize("form", ["stopping", "promotion"])
def test_after_kills_no_curve_has_a_point_twice(tmp_path: Path, form: str) -> None:
    run_dir = RunDir.create("toy", tmp_path / "run")
    spec = toy_spec(
        tmp_path,
        search={"algorithm": "random", "trials": 10, "seed": 3},
        scheduler={"name": "asha", "form": form, "grace_iters": 2, "reduction_factor": 2, "max_iters": 8},
    )
    for num_reports in (3, 11, 2, 1, 9):
        with pytest.raises(Killed):
            search_on(run_dir, spec, num_reports)
    search = search_on(run_dir, spec)
    for one in search.history.trials:
        folder = run_dir.tensorboard / f"trial-{one.number:05d}"
        assert curves(folder) == expected(one.reports)
        assert len(list(folder.iterdir())) == 1


def test_a_worker_that_begins_again_replaces_its_points(tmp_path: Path) -> None:
    """A trainable without checkpoints starts over if its worker dies."""
    run_dir = RunDir.create("toy", tmp_path / "run")
    spec = toy_spec(tmp_path)
    history = history_of(trial({"x": 0.5}, [0.1, 0.2, 0.3], "running", metrics={"loss": 1.0, "cost": 2.0}))
    board = TensorBoard()
    board.begin(Run(run_dir, spec, history))
    (one,) = history.trials
    one.reports[1] = Report(1, 0.15, {"loss": 0.5, "cost": 2.0}, None, 1.0, False)
    board.update([one])
    board.rest()
    assert curves(run_dir.tensorboard / "trial-00000") == expected(one.reports)


def test_numbers_have_names(tmp_path: Path) -> None:
    config = {"data": {"label_class_ids": [0, 7], "class_names": ["road", "traffic light"]}}
    document = {
        "config": config,
        "space": {"optim.lr": {"type": "float", "low": 0.001, "high": 0.1}},
        "objective": {"metric": "miou", "mode": "max"},
    }
    metrics = {"iou": [0.25, math.nan], "miou_draws": [0.2, 0.3], "own": [1.0, 2.0], "contrast_active": True, "lr": 0.1}
    scalars = ReportScalars(parse_space(document, tmp_path))
    assert scalars.of(Report(10, 0.5, metrics, None, 1.0, False)) == {
        "miou": 0.5,
        "iou/road": 0.25,
        "own/0": 1.0,
        "own/1": 2.0,
        "contrast_active": 1.0,
        "lr": 0.1,
    }
