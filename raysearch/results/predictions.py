"""Predictions of the winner and of the default config: the folder `predictions/` of a run, written by the trainable.

`index.json` holds the content of the report's panel, and `scores.parquet` the score of every example. The folder is
written once, when a search has ended.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from raysearch.errors import InputError
from raysearch.history.history import History, TrialHistory
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import write_table
from raysearch.results.confirmation import Confirmation, winning_trial
from raysearch.search.run import Run
from raysearch.space.spec import SearchSpec
from trainables.atomic_files import replaced_folder
from trainables.protocol import PredictedPicture, PredictedRow, PredictionPanel, PredictsPictures, Trained

Role = Literal["winner", "default"]


@dataclass(frozen=True)
class Predictions:
    """The content of `predictions/`."""

    folder: Path
    """Folder of the pictures."""
    panel: PredictionPanel
    """Content of the report's panel, without the scores."""
    problem: str | None = None
    """Reason why there are no pictures."""


def write_predictions(run: Run, confirmation: Confirmation | None = None) -> None:
    """Let the trainable write pictures of the predictions of the best checkpoint and of the default config's.

    Nothing is written for a trainable that predicts no pictures, while trials are running, without a checkpoint, or if
    the predictions of these checkpoints exist already. If the examples cannot be read any more, `index.json` says so.
    """
    winner = winning_trial(run.history, confirmation)
    target: Any = run.spec.trainable.target
    is_over = all(trial.status != "running" for trial in run.history.trials)
    if not isinstance(target, PredictsPictures) or winner is None or not is_over:
        return
    checkpoints = _checkpoints(winner, run.history, run.dir)
    if "winner" not in checkpoints:
        return
    made_of = {role: [trial.number, _iteration(trial, run.history)] for role, (trial, _) in checkpoints.items()}
    if _read_index(run.dir).get("made_of") == made_of:
        return
    trained = {role: _trained(trial, folder, run.spec) for role, (trial, folder) in checkpoints.items()}
    with replaced_folder(run.dir.predictions) as part:
        try:
            panel = target.predict_pictures(trained["winner"], trained.get("default"), part)
        except Exception as error:  # missing pictures must not cost the results of a search
            told = str(error) if isinstance(error, InputError | OSError | RuntimeError) else repr(error)
            index: dict[str, Any] = {"problem": (told or repr(error)).splitlines()[0]}
        else:
            index = {"text": panel.text, "legend": panel.legend, "rows": [_index_row(row) for row in panel.rows]}
            if panel.scores:
                columns = {name: _column(list(values)) for name, values in panel.scores.items()}
                write_table(pa.table(columns), part / "scores.parquet")
        (part / "index.json").write_text(json.dumps({"made_of": made_of, **index}, indent=2) + "\n", encoding="utf-8")


def read_predictions(run_dir: RunDir, winner: TrialHistory | None) -> Predictions | None:
    """Return the predictions of the winner; None if there are none or they belong to another winner."""
    index = _read_index(run_dir)
    if winner is None or index.get("made_of", {}).get("winner", [None])[0] != winner.number:
        return None
    if "problem" in index:
        return Predictions(run_dir.predictions, PredictionPanel("", ()), index["problem"])
    rows = (
        PredictedRow(row["title"], tuple(PredictedPicture(**picture) for picture in row["pictures"]))
        for row in index["rows"]
    )
    legend = tuple((name, color) for name, color in index["legend"])
    return Predictions(run_dir.predictions, PredictionPanel(index["text"], tuple(rows), legend))


def _read_index(run_dir: RunDir) -> dict[str, Any]:
    """Return the content of `index.json`; empty if an earlier version of raysearch wrote it in another form."""
    path = run_dir.predictions / "index.json"
    if not path.is_file():
        return {}
    index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return index if "rows" in index or "problem" in index else {}


def _index_row(row: PredictedRow) -> dict[str, Any]:
    return {"title": row.title, "pictures": [picture._asdict() for picture in row.pictures]}


def _column(values: list[Any]) -> pa.Array:
    return pa.array(values, pa.float64() if all(value is None for value in values) else None)


def _trained(trial: TrialHistory, folder: Path, spec: SearchSpec) -> Trained:
    config = spec.trial_config({} if trial.is_default else trial.values)
    return Trained(trial.number, spec.trainable.config_of(config), folder)


def _checkpoints(winner: TrialHistory, history: History, run_dir: RunDir) -> dict[Role, tuple[TrialHistory, Path]]:
    """Return the trials and the folders of the existing checkpoints."""
    found: dict[Role, tuple[TrialHistory, Path]] = {}
    if run_dir.best_checkpoint.is_dir():
        found["winner"] = (winner, run_dir.best_checkpoint)
    default = next((trial for trial in history.trials if trial.is_default), None)
    best = default.best(history.mode) if default else None
    if default and default is not winner and best and best.checkpoint:
        folder = run_dir.checkpoint(default.number, best.checkpoint)
        if folder.is_dir():
            found["default"] = (default, folder)
    return found


def _iteration(trial: TrialHistory, history: History) -> int:
    best = trial.best(history.mode)
    assert best is not None, "it has a checkpoint"
    return best.iteration
