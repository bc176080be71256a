import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysearch.history.history import History
from raysearch.history.run_dir import RunDir
from raysearch.report.parts import Legend, Pictures, Text
from raysearch.report.predictions import predictions_info, predictions_parts
from raysearch.report.view import SearchView
from raysearch.results.predictions import read_predictions, write_predictions
from raysearch.runs.outcome import write_outcome
from raysearch.search.run import Run
from raysearch.space.parsing import parse_space
from raysearch.space.spec import SearchSpec
from tests.raysearch.ours import score
from tests.raysearch.report.histories import history_of, trial
from tests.trainables.tiny import tiny
from trainables.config import Config
from trainables.pictures import IGNORED_COLOR
from trainables.protocol import PredictionPanel
from trainables.trainer import Trainer

Search = tuple[History, SearchSpec, RunDir]


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Provide a search with two trained trials of the tiny config, of which the second has a slightly better score."""
    folder = tmp_path_factory.mktemp("predicted")
    config = tiny({"data.drawn.num_val": 8}).model_dump(mode="json")
    space = {"optim.lr": {"type": "float", "low": 0.001, "high": 0.1}}
    document = {"name": "tiny", "config": config, "space": space, "objective": {"metric": "miou", "mode": "max"}}
    spec = parse_space(document, folder, "tiny.yaml")
    run_dir = RunDir.create("tiny", folder / "run")
    run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
    run_dir.journal.touch()
    rate = spec.config["optim"]["lr"]
    history = history_of(
        trial({"optim.lr": rate}, {6: 0.2}, is_default=True, space={}), trial({"optim.lr": 0.05}, {6: 0.3}, space={})
    )
    for one in history.trials:
        trainer = Trainer(Config.model_validate(spec.trial_config(one.values)))
        trainer.train_to(6)
        trainer.save(run_dir.trial(one.number) / "checkpoint-6")
        one.reports[6] = type(one.reports[6])(**{**one.reports[6].__dict__, "checkpoint": "checkpoint-6"})
    write_outcome(Run(run_dir, spec, history))
    return history, spec, run_dir


def test_winner_and_default_predict_the_same_images(search: Search) -> None:
    history, spec, run_dir = search
    assert read_predictions(run_dir, history.trials[0]) is None, "they are of another winner"
    found = read_predictions(run_dir, history.trials[1])
    assert found is not None
    index = json.loads((run_dir.predictions / "index.json").read_text())
    assert index["made_of"] == {"winner": [1, 6], "default": [0, 6]}
    assert [name for name, _ in found.panel.legend] == ["0", "1", "2", "3", "ignored"]
    scores = pq.read_table(run_dir.predictions / "scores.parquet").to_pydict()
    assert len(scores["image"]) == 8
    by_name = dict(zip(scores["image"], zip(scores["winner_miou"], scores["default_miou"], strict=True), strict=True))
    titles = [row.title.split(": ") for row in found.panel.rows]
    assert [kind for kind, _ in titles] == ["worst"] * 4 + ["typical"] * 2
    shown = [tuple(float(one.caption.split()[1]) for one in row.pictures[2:]) for row in found.panel.rows]
    assert shown == [tuple(round(score, 3) for score in by_name[name]) for _, name in titles]
    assert [by_name[name][0] for _, name in titles[:4]] == sorted(scores["winner_miou"])[:4]

    config = Config.model_validate(spec.trial_config(history.trials[1].values))
    whole = score(config, run_dir.best_checkpoint)
    assert 0.0 < float(whole.miou()) < 1.0
    allowed = {bytes.fromhex(color[1:]) for _, color in found.panel.legend}
    assert bytes(IGNORED_COLOR) in allowed
    for row in found.panel.rows:
        files = [found.folder / one.file for one in row.pictures]
        pictures = [np.asarray(Image.open(path).convert("RGB")) for path in files[1:]]
        assert {picture.shape for picture in pictures} == {(32, 48, 3)}
        assert {bytes(color) for picture in pictures for color in picture.reshape(-1, 3)} <= allowed


def test_the_page_holds_the_pictures(search: Search) -> None:
    history, _, run_dir = search
    html = run_dir.report.read_text(encoding="utf-8")
    assert "<h2>Predictions</h2>" in html
    assert html.count('src="data:image/jpeg;base64,') == 6
    assert html.count('src="data:image/png;base64,') == 18
    parts = predictions_parts(
        predictions_info(SearchView(history_of(), "miou", predictions=read_predictions(run_dir, history.trials[1])))
    )
    text, legend, *rows = parts
    assert isinstance(text, Text)
    assert text.text.startswith(
        "The validation images with the lowest mIoU of trial 1, the winner, and some with an mIoU"
    )
    assert isinstance(legend, Legend)
    assert [name for name, _ in legend.entries] == ["0", "1", "2", "3", "ignored"]
    assert len(rows) == 6
    assert isinstance(rows[0], Pictures)
    assert rows[0].title.startswith("worst: ")
    assert [one.caption.split()[0] for one in rows[0].pictures] == ["image", "label", "winner", "default"]
    kind, data = rows[0].pictures[1].data.split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_predictions_are_made_once_and_anew_for_another_winner(search: Search) -> None:
    history, spec, run_dir = search
    index = run_dir.predictions / "index.json"
    before = index.stat().st_mtime_ns
    write_predictions(Run(run_dir, spec, history))
    assert index.stat().st_mtime_ns == before
    text = index.read_text()
    index.write_text(text.replace('"made_of"', '"made_of": {"winner": [7, 6]}, "made_before"'))
    write_predictions(Run(run_dir, spec, history))
    assert index.read_text() == text


def test_why_there_are_no_predictions_is_on_the_page(search: Search, tmp_path: Path) -> None:
    history, spec, run_dir = search
    lost = {**spec.config, "data": {**spec.config["data"], "dir": str(tmp_path / "gone")}}
    moved = parse_space({**spec.document, "config": lost}, tmp_path, "tiny.yaml")
    other = RunDir(tmp_path)
    (run_dir.best_checkpoint).rename(other.best_checkpoint)
    try:
        write_predictions(Run(other, moved, history))
    finally:
        other.best_checkpoint.rename(run_dir.best_checkpoint)
    assert "gone" in json.loads((other.predictions / "index.json").read_text())["problem"]
    (text,) = predictions_parts(
        predictions_info(SearchView(history_of(), "miou", predictions=read_predictions(other, history.trials[1])))
    )
    assert isinstance(text, Text)
    assert text.text.startswith("No predictions could be made: ")


def test_a_search_that_runs_is_not_predicted(search: Search, tmp_path: Path) -> None:
    history, spec, _ = search
    running = history_of(*history.trials, trial({"optim.lr": 0.02}, [], "running"))
    write_predictions(Run(RunDir(tmp_path), spec, running))
    assert not RunDir(tmp_path).predictions.exists()
    assert predictions_parts(predictions_info(SearchView(running, "miou"))) == []


def test_an_error_of_the_trainable_costs_the_pictures_alone(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, spec, run_dir = search

    def fail(*_: object) -> PredictionPanel:
        raise KeyError("weights")

    monkeypatch.setattr(spec.trainable.target, "predict_pictures", fail)
    other = RunDir(tmp_path)
    shutil.copytree(run_dir.best_checkpoint, other.best_checkpoint)
    write_predictions(Run(other, spec, history))
    assert json.loads((other.predictions / "index.json").read_text())["problem"] == "KeyError('weights')"


def test_the_index_of_an_earlier_version_is_written_anew(search: Search) -> None:
    history, spec, run_dir = search
    index = run_dir.predictions / "index.json"
    now = json.loads(index.read_text())
    before = {"made_of": now["made_of"], "num_images": 8, "num_scored": 8, "classes": [], "images": []}
    index.write_text(json.dumps(before))
    assert read_predictions(run_dir, history.trials[1]) is None
    write_predictions(Run(run_dir, spec, history))
    assert json.loads(index.read_text()) == now
