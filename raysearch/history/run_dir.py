"""The paths of all files in the folder of a run."""

import os
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from raysearch.config.documents import JOURNAL_FILE, Kind, check_kind
from raysearch.errors import Fault, InputError

STATE_FILE = "raysearch_state.json"
"""File that a checkpoint holds beside those of the trainable: where the training stood."""

_WRITTEN = ("*", "trials/*", "trials/*/*", "confirm/*", "confirm/*/*", "shared/*", "pareto/*", "predictions/*")
"""Files and folders of a run that commands replace or delete."""


@dataclass(frozen=True)
class RunDir:
    """The folder that a search writes and that all other commands read."""

    root: Path

    @classmethod
    def create(cls, name: str, out: Path | None) -> "RunDir":
        """Create a new folder: `out`, or `runs/NAME-TIMESTAMP` below the working directory.

        Raises:
            InputError: the folder is not empty or cannot be written.
        """
        root = Path(out) if out is not None else Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        root = Path(os.path.abspath(root.expanduser()))
        try:
            root.mkdir(parents=True, exist_ok=True)
            if any(root.iterdir()):
                fix = (
                    f"continue it with `raysearch resume {shlex.quote(str(root))}`"
                    if cls(root).journal.exists()
                    else "name another folder"
                )
                raise InputError([Fault(str(root), "is not empty; a new search needs a new or empty folder", fix)])
            cls(root).trials.mkdir()
        except OSError as error:
            raise InputError(
                [Fault(str(root), f"cannot be written ({error.strerror})", "name another --out")]
            ) from None
        return cls(root)

    @classmethod
    def open(cls, root: Path) -> "RunDir":
        """Return the folder of an existing run.

        Raises:
            InputError: the folder does not exist, holds no journal or one that was emptied, or holds a symbolic link.
        """
        run_dir = cls(Path(os.path.abspath(Path(root).expanduser())))
        if not run_dir.journal.is_file():
            check_kind(run_dir.root, str(root), Kind.RUN)
            if not run_dir.root.exists():
                raise InputError([Fault(str(root), "there is no such folder", "name the folder of a run")])
            if run_dir._has_trials():
                what = f"its {JOURNAL_FILE}, the only record of the search, is gone"
                raise InputError([Fault(str(root), what, "restore it from a copy, or start a new search")])
            what = f"is not the folder of a run, because it holds no {JOURNAL_FILE}"
            raise InputError([Fault(str(root), what, "name one that does")])
        if not run_dir.journal.stat().st_size and run_dir._has_trials():
            what = "is empty, although the search had started trials"
            raise InputError([Fault(str(run_dir.journal), what, "restore it from a copy, or start a new search")])
        if links := [path for pattern in _WRITTEN for path in run_dir.root.glob(pattern) if path.is_symlink()]:
            what = "is a symbolic link, and what lies behind it would be changed with the run"
            raise InputError([Fault(str(link), what, "replace it by the folder or file itself") for link in links])
        return run_dir

    def _has_trials(self) -> bool:
        return self.trials.is_dir() and any(self.trials.iterdir())

    @property
    def space(self) -> Path:
        """The space file as it was run."""
        return self.root / "space.yaml"

    @property
    def journal(self) -> Path:
        """The journal, the only record of the search."""
        return self.root / JOURNAL_FILE

    @property
    def trials_table(self) -> Path:
        """Table with one row per trial."""
        return self.root / "trials.parquet"

    @property
    def results_table(self) -> Path:
        """Table with one row per trial and iteration."""
        return self.root / "results.parquet"

    @property
    def best_config(self) -> Path:
        """The config of the best trial."""
        return self.root / "best_config.json"

    @property
    def pareto(self) -> Path:
        """Folder of the configs of the Pareto set, if there are several objectives."""
        return self.root / "pareto"

    @property
    def pareto_table(self) -> Path:
        """Table with one row per trial of the Pareto set."""
        return self.root / "pareto.parquet"

    def pareto_config(self, number: int) -> Path:
        """Return the file of the config of one trial of the Pareto set."""
        return self.pareto / f"trial-{number:05d}.json"

    @property
    def best_checkpoint(self) -> Path:
        """The weights of the best trial at its best iteration."""
        return self.root / "best_checkpoint"

    @property
    def predictions(self) -> Path:
        """Images of the predictions of the winner and of the default config."""
        return self.root / "predictions"

    @property
    def report(self) -> Path:
        """The report, one HTML page."""
        return self.root / "report.html"

    @property
    def log(self) -> Path:
        """Log of Ray, libraries and workers, with the tracebacks of failed trials."""
        return self.root / "raysearch.log"

    @property
    def tensorboard(self) -> Path:
        """Folder of the TensorBoard files, with one folder per trial."""
        return self.root / "tensorboard"

    @property
    def mlflow(self) -> Path:
        """File that names the MLflow run of the search."""
        return self.root / "mlflow.json"

    @property
    def wandb(self) -> Path:
        """File with the prefix of the search's run ids at Weights & Biases, and with the trials that were uploaded."""
        return self.root / "wandb.jsonl"

    @property
    def tune(self) -> Path:
        """Ray Tune's own files."""
        return self.root / "tune"

    @property
    def trials(self) -> Path:
        """Folder that holds one folder per trial."""
        return self.root / "trials"

    @property
    def shared(self) -> Path:
        """Checkpoints of iterations that several trials share; deleted when the search has finished."""
        return self.root / "shared"

    @property
    def confirmed_table(self) -> Path:
        """Table with one row per confirmed config and seed."""
        return self.root / "confirmed.parquet"

    @property
    def importance_table(self) -> Path:
        """Table with one row per searched value and method of measuring importance."""
        return self.root / "importance.parquet"

    def confirm_training(self, number: int, seed: int) -> Path:
        """Return the folder of the training that repeats a trial's config with another seed."""
        return self.root / "confirm" / f"trial-{number}-seed-{seed}"

    def trial(self, number: int) -> Path:
        """Return the folder of one trial, which holds its checkpoints."""
        return self.trials / f"{number:05d}"

    def checkpoint(self, number: int, name: str) -> Path:
        """Return a checkpoint in the folder of a trial.

        Raises:
            InputError: the name leads out of that folder.
        """
        if name in ("", ".", "..") or "/" in name:
            what = f"names {name!r} as a checkpoint of trial {number}, which is not in its folder"
            raise InputError([Fault(str(self.journal), what, "do not use a run that somebody has changed")])
        return self.trial(number) / name

    def drop_shared(self) -> None:
        """Delete the shared checkpoints; a trial that is added later retrains its first iterations with the same
        result.
        """
        shutil.rmtree(self.shared, ignore_errors=True)

    def keep_only(self, number: int, checkpoint: str | None) -> None:
        """Delete all checkpoints of a trial except `checkpoint`; None deletes all of them."""
        folder = self.trial(number)
        if checkpoint is None:
            shutil.rmtree(folder, ignore_errors=True)
        elif folder.is_dir():
            for path in folder.iterdir():
                if path.name != checkpoint:
                    shutil.rmtree(path, ignore_errors=True)
