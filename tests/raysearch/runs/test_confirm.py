import json
import shutil
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysearch.commands import search_commands
from raysearch.errors import InputError, WorkError
from raysearch.execution.places import Where
from raysearch.execution.preflight import preflight
from raysearch.execution.trial_actor import checkpoint_name
from raysearch.history.events import Ended, Report
from raysearch.history.history import TrialHistory, read_history
from raysearch.history.journal import Journal
from raysearch.history.run_dir import RunDir
from raysearch.history.tables import write_reports
from raysearch.observers import Observer
from raysearch.results.export import best_config_text
from raysearch.runs import driver
from raysearch.runs.confirm import confirm
from raysearch.runs.outcome import write_outcome
from raysearch.search.run import Run
from raysearch.search.search import Search
from raysearch.search.simulated import Leg, SimulatedExecutor
from raysearch.search.work import Assignment
from raysearch.space.parsing import load_space, parse_space
from raysearch.space.settings import ResourceSettings
from raysearch.space.spec import SearchSpec
from tests.raysearch.ours import score, train
from tests.raysearch.signalled import signalled
from tests.raysearch.toy import run_search, toy_spec
from tests.trainables.tiny import tiny
from trainables.config import Config

SELECTION = [0.5, 0.9, 0.7, 0.6]
"""Scores of the trials in the search: trial 1 is the best, trial 0 is the default."""


def spec_of(folder: Path, **sections: Any) -> SearchSpec:
    base = tiny({"train.max_iters": 4, "train.num_threads": 1, "train.seed": 10})
    document = {
        "name": "tiny",
        "config": base.model_dump(mode="json"),
        "space": {"optim.lr": {"type": "float", "low": 1e-3, "high": 0.1, "log": True}},
        "objective": {"metric": "miou", "mode": "max"},
        "search": {"algorithm": "random", "trials": len(SELECTION)},
        "scheduler": {"name": "none"},
    }
    return parse_space({**document, **sections}, folder)


def search_in(
    folder: Path, *, unfinished: bool = False, status: Mapping[int, str] | None = None, **sections: Any
) -> RunDir:
    """Return a search with made-up scores and a checkpoint for each trial."""
    spec, run_dir = spec_of(folder, **sections), RunDir.create("tiny", folder / "run")
    run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
    run_trials(run_dir, SELECTION, unfinished=unfinished, status=status)
    return run_dir


def run_trials(
    run_dir: RunDir, scores: Sequence[float], *, unfinished: bool = False, status: Mapping[int, str] | None = None
) -> None:
    """Run the next trials of a search with made-up scores, and extend the search if necessary."""
    spec = load_space(run_dir.space)
    with Journal(run_dir.journal) as journal:
        search = Search(spec, journal)
        if search.finished:
            search.extend(len(scores))
        for score in scores:
            proposal = search.propose()
            assert proposal is not None
            number = proposal.number
            checkpoint = run_dir.trial(number) / "checkpoint-2"
            checkpoint.mkdir(parents=True)
            (checkpoint / "model.pt").write_text(f"weights of trial {number}")
            for iteration, value in ((2, score), (4, score - 0.25)):
                if status and number in status:
                    search.take(number, Ended(status[number], "made up"))  # type: ignore[arg-type]
                    break
                if iteration == 4 and unfinished and number == len(SELECTION) - 1:
                    break
                search.take(
                    number,
                    Report(
                        iteration=iteration,
                        value=value,
                        metrics={},
                        checkpoint=f"checkpoint-{iteration}",
                        seconds=1.0,
                        done=iteration == 4,
                    ),
                )
        write_outcome(Run(run_dir, spec, search.history))


def block_of(run_dir: RunDir) -> dict[str, Any]:
    block: dict[str, Any] = json.loads(run_dir.best_config.read_text())["raysearch"]
    return block


def rows_of(run_dir: RunDir) -> list[tuple[int, int, float | None, int]]:
    rows = pq.read_table(run_dir.confirmed_table).to_pylist()
    assert list(rows[0]) == ["trial", "seed", "value", "iteration", "split", "val_value"]
    assert all((row["split"], row["val_value"]) == ("val", row["value"]) for row in rows)
    return [(row["trial"], row["seed"], row["value"], row["iteration"]) for row in rows]


Scores = Callable[[int, int], float]


class MadeUpWorld:
    """Trainings that report 1.0 at iteration 2, and a made-up score of trial and seed at iteration 4."""

    def __init__(self, score: Scores, trained: list[str]) -> None:
        self._score, self._trained = score, trained
        self._folders: dict[int, Path] = {}

    def begin(self, assignment: Assignment, now: float) -> Leg:
        self._folders[assignment.number] = assignment.folder
        self._trained.append(assignment.folder.parent.name)
        assert assignment.seed == int(assignment.folder.parent.name.rpartition("-")[2])
        return self._report(assignment.number, now, 2, 1.0)

    def go_on(self, number: int, now: float) -> Leg:
        _, trial, _, seed = self._folders[number].parent.name.split("-")
        try:
            score = self._score(int(trial), int(seed))
        except FloatingPointError as error:
            return Leg(now + 1, Ended("infeasible", str(error)))
        except OSError as error:
            details = traceback.format_exc()
            return Leg(now + 1, Ended("failed", f"{type(error).__name__}: {error}", details=details))
        return self._report(number, now, 4, score)

    def _report(self, number: int, now: float, iteration: int, score: float) -> Leg:
        name = checkpoint_name(iteration)
        (self._folders[number] / name).mkdir(parents=True, exist_ok=True)
        (self._folders[number] / name / "model.pt").write_text(f"weights of {self._folders[number].parent.name}")
        return Leg(now + 1, Report(iteration, score, {}, name, seconds=1.0, done=False))


class MadeUpPlace:
    """A place where trainings take no time."""

    where = "here"
    share = 1.0

    def __init__(self, world: MadeUpWorld) -> None:
        self._world = world

    def executor(self, *_: Any) -> SimulatedExecutor:
        return SimulatedExecutor(self._world, num_workers=1)

    def close(self) -> None: ...

    def __enter__(self) -> "MadeUpPlace":
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scores], list[str]]:
    """Provide a function that replaces training by scores of trial and seed, and returns the trained folders."""

    def use(score: Scores) -> list[str]:
        trained: list[str] = []
        place = MadeUpPlace(MadeUpWorld(score, trained))
        monkeypatch.setattr(Where, "open", lambda where, resources: place)
        return trained

    return use


TABLE = "results.parquet"
MEANS = {0: 0.25, 1: 0.5, 2: 0.75, 3: 0.125}


def by_trial(number: int, seed: int) -> float:
    """Return a score for which trial 2 is the best; a seed has nearly the same effect on all configs."""
    return MEANS[number] + 0.01 * seed + 0.001 * ((number + seed) % 2)


class TestConfirmed:
    def test_the_best_mean_becomes_the_best_config(
        self, made_up: Callable[[Scores], list[str]], tmp_path: Path
    ) -> None:
        run_dir, said = search_in(tmp_path), []  # type: tuple[RunDir, list[str]]
        assert block_of(run_dir)["trial"] == 1
        assert "confirmed" not in block_of(run_dir)
        trained = made_up(by_trial)
        confirmation = confirm(run_dir.root, top=2, seeds=3, jobs=2, say=said.append)
        assert trained == [f"trial-{number}-seed-{seed}" for seed in (11, 12, 13) for number in (1, 2, 0)]
        assert rows_of(run_dir) == [(n, seed, by_trial(n, seed), 4) for seed in (11, 12, 13) for n in (1, 2, 0)]
        assert [trial.number for trial in confirmation.trials] == [2, 1, 0]

        block = block_of(run_dir)
        history = read_history(run_dir.journal)
        assert (block["trial"], block["value"], block["iteration"], block["seed"]) == (2, 0.7, 2, 10)
        confirmed = block["confirmed"]
        assert (confirmed["trial"], confirmed["search_trial"], confirmed["runner_up"]) == (2, 1, 1)
        assert (confirmed["top"], confirmed["seeds"], confirmed["iteration"]) == (2, [11, 12, 13], 4)
        assert confirmed["mean"] == pytest.approx(0.75 + 0.12 + 0.002 / 3)
        assert confirmed["distinguishable_from_default"]
        best = Config.model_validate(
            {k: v for k, v in json.loads(run_dir.best_config.read_text()).items() if k != "raysearch"}
        )
        assert best.optim.lr == history.trials[2].values["optim.lr"]
        assert (run_dir.best_checkpoint / "model.pt").read_text() == "weights of trial 2"
        assert "the search had picked trial 1; the best config is now that of trial 2" in said
        assert any(line.startswith("trial 2 minus the default: +0.5") and line.endswith(": better") for line in said)

    def test_everything_written_anew_keeps_it(self, made_up: Callable[[Scores], list[str]], tmp_path: Path) -> None:
        run_dir = search_in(tmp_path)
        made_up(by_trial)
        confirm(run_dir.root, top=2, seeds=2, say=lambda line: None)
        written, page = run_dir.best_config.read_text(), run_dir.report.read_text()
        assert "confirmed" in block_of(run_dir)
        run_dir.best_config.unlink()
        write_outcome(Run(run_dir, load_space(run_dir.space), read_history(run_dir.journal)))
        assert run_dir.best_config.read_text() == best_config_text(run_dir) == written
        assert run_dir.report.read_text() == page
        assert "confirmed miou" in page
        result = driver.resume(run_dir.root, say=lambda line: None)
        assert run_dir.best_config.read_text() == written
        assert result.confirmed is not None
        assert (result.best_trial, result.confirmed.best.number) == (1, 2)

    def test_scores_that_overlap_are_not_distinguishable(
        self, made_up: Callable[[Scores], list[str]], tmp_path: Path
    ) -> None:
        run_dir, said = search_in(tmp_path), []  # type: tuple[RunDir, list[str]]
        made_up(lambda number, seed: 0.5 + 0.1 * ((number + seed) % 2) + 0.001 * number)
        confirmation = confirm(run_dir.root, top=1, seeds=4, say=said.append)
        lead = confirmation.lead_over(confirmation.default)
        assert lead is not None
        assert lead.interval is not None
        assert lead.interval[0] < 0.0 < lead.interval[1]
        assert [line.rpartition(": ")[2] for line in said if line.startswith("trial 1 minus")] == [
            "not distinguishable"
        ]
        assert block_of(run_dir)["confirmed"]["distinguishable_from_default"] is False

    def test_the_default_may_be_the_best(self, made_up: Callable[[Scores], list[str]], tmp_path: Path) -> None:
        run_dir, said = search_in(tmp_path), []  # type: tuple[RunDir, list[str]]
        made_up(lambda number, seed: -float(number))
        assert confirm(run_dir.root, top=2, seeds=2, say=said.append).best.number == 0
        assert block_of(run_dir)["trial"] == 0
        assert block_of(run_dir)["confirmed"]["interval_to_default"] is None
        assert "no config found by the search has a better mean than the default config" in said

    def test_one_seed_has_no_interval(self, made_up: Callable[[Scores], list[str]], tmp_path: Path) -> None:
        run_dir, said = search_in(tmp_path), []  # type: tuple[RunDir, list[str]]
        made_up(by_trial)
        confirm(run_dir.root, top=1, seeds=1, say=said.append)
        assert block_of(run_dir)["confirmed"]["interval_to_default"] is None
        assert "trial 1 minus the default: +0.249, no interval with a single seed: not distinguishable" in said

    def test_the_default_does_not_count_and_more_than_there_are_is_all(
        self, made_up: Callable[[Scores], list[str]], tmp_path: Path
    ) -> None:
        run_dir = search_in(tmp_path, status={2: "failed"})
        trained = made_up(by_trial)
        said: list[str] = []
        assert confirm(run_dir.root, top=99, seeds=1, say=said.append).top == 2
        assert "note: top is 99, but besides the default only 2 trials have a score" in said
        assert trained == ["trial-1-seed-11", "trial-3-seed-11", "trial-0-seed-11"]

    def test_without_the_trials_own_checkpoint_it_is_that_of_the_first_confirming_training(
        self, made_up: Callable[[Scores], list[str]], tmp_path: Path
    ) -> None:
        run_dir = search_in(tmp_path)
        shutil.rmtree(run_dir.trials)
        made_up(by_trial)
        confirm(run_dir.root, top=2, seeds=2, say=lambda line: None)
        assert (run_dir.best_checkpoint / "model.pt").read_text() == "weights of trial-2-seed-11"

    def test_a_default_that_failed_is_not_trained_again(
        self, made_up: Callable[[Scores], list[str]], tmp_path: Path
    ) -> None:
        run_dir, said = search_in(tmp_path, status={0: "infeasible"}), []  # type: tuple[RunDir, list[str]]
        trained = made_up(by_trial)
        assert confirm(run_dir.root, top=1, seeds=1, say=said.append).default is None
        assert trained == ["trial-1-seed-11"]
        assert "note: the default config was infeasible in the search and is not trained again" in said


class TestGoingOn:
    def test_what_is_done_is_not_trained_again(self, made_up: Callable[[Scores], list[str]], tmp_path: Path) -> None:
        run_dir, said = search_in(tmp_path), []  # type: tuple[RunDir, list[str]]
        trained = made_up(by_trial)
        first = confirm(run_dir.root, top=1, seeds=2, say=lambda line: None)
        trained.clear()
        assert confirm(run_dir.root, top=1, seeds=2, say=said.append) == first
        assert trained == []
        assert "trainings: 4, 4 of them already done" in said
        confirm(run_dir.root, top=2, seeds=3, say=said.append)
        assert trained == [
            "trial-2-seed-11",
            "trial-2-seed-12",
            "trial-1-seed-13",
            "trial-2-seed-13",
            "trial-0-seed-13",
        ]

    def test_a_failed_training_leaves_the_others(self, made_up: Callable[[Scores], list[str]], tmp_path: Path) -> None:
        def full_disk(number: int, seed: int) -> float:
            if (number, seed) == (1, 11):
                raise OSError(28, "No space left on device")
            return by_trial(number, seed)

        run_dir = search_in(tmp_path)
        made_up(full_disk)
        log = run_dir.root / "confirm" / "trial-1-seed-11.log"
        with pytest.raises(WorkError, match=rf"trial 1, seed 11: OSError: .*No space left on device; see {log}"):
            confirm(run_dir.root, top=1, seeds=2, say=lambda line: None)
        assert "Traceback" in log.read_text()
        assert not run_dir.confirmed_table.exists()
        trained = made_up(by_trial)
        confirm(run_dir.root, top=1, seeds=2, say=lambda line: None)
        assert trained == ["trial-1-seed-11"]

    def test_a_config_that_diverges_is_out_and_the_rest_is_compared(
        self, made_up: Callable[[Scores], list[str]], tmp_path: Path
    ) -> None:
        def diverging(number: int, seed: int) -> float:
            if number in diverged and seed == 12:
                raise FloatingPointError("the loss is nan at iteration 3")
            return by_trial(number, seed)

        run_dir, said, diverged = search_in(tmp_path), [], {2}  # type: tuple[RunDir, list[str], set[int]]
        made_up(diverging)
        assert confirm(run_dir.root, top=2, seeds=2, say=said.append).diverged == (2,)
        assert (2, 12, None, 4) in rows_of(run_dir)
        assert block_of(run_dir)["trial"] == 1
        assert "  trial 2 diverged and is left out of the comparison" in said
        assert "trial 2, seed 12: the loss is nan at iteration 3" in said
        confirm(run_dir.root, top=2, seeds=2, say=said.append)
        assert "trainings: 6, 6 of them already done" in said
        shutil.rmtree(run_dir.root / "confirm")
        diverged |= {0, 1}
        with pytest.raises(WorkError, match="all configs diverged: trial 1, seed 12: the loss is nan"):
            confirm(run_dir.root, top=2, seeds=2, say=lambda line: None)

    def test_a_folder_of_another_config_is_refused(
        self, made_up: Callable[[Scores], list[str]], tmp_path: Path
    ) -> None:
        run_dir = search_in(tmp_path)
        made_up(by_trial)
        confirm(run_dir.root, top=1, seeds=1, say=lambda line: None)
        (run_dir.confirm_training(1, 11) / "config.json").write_text(tiny().model_dump_json())
        with pytest.raises(InputError, match="trial-1-seed-11: holds the training of another config; move it away"):
            confirm(run_dir.root, top=1, seeds=1, say=lambda line: None)


class TestAtTheEndOfASearch:
    """Tests of `search.confirm`; `resume` of a finished search does what `run` does after its last trial."""

    CONFIRM = {"algorithm": "random", "trials": len(SELECTION), "confirm": {"top": 2, "seeds": 2}}

    def test_it_is_done_and_told(self, made_up: Callable[[Scores], list[str]], tmp_path: Path) -> None:
        run_dir, said = search_in(tmp_path, search=self.CONFIRM), []  # type: tuple[RunDir, list[str]]
        trained = made_up(by_trial)
        result = driver.resume(run_dir.root, say=said.append)
        assert trained == [f"trial-{number}-seed-{seed}" for seed in (11, 12) for number in (1, 2, 0)]
        assert "confirming the best 2 trials and the default config, 2 new seeds each" in said
        assert any(line.startswith("trial 2 minus the default: +0.5") for line in said)
        assert (result.finished, result.interrupted_by) == (True, None)
        assert result.confirmed is not None
        assert result.confirmed.best.number == block_of(run_dir)["confirmed"]["trial"] == 2
        trained.clear()
        assert driver.resume(run_dir.root, say=said.append).confirmed == result.confirmed
        assert trained == []

    def test_a_signal_leaves_it_to_resume(self, made_up: Callable[[Scores], list[str]], tmp_path: Path) -> None:
        def interrupted(number: int, seed: int) -> float:
            if (number, seed) == (2, 11):
                signal.raise_signal(signal.SIGTERM)
            return by_trial(number, seed)

        run_dir, said = search_in(tmp_path, search=self.CONFIRM), []  # type: tuple[RunDir, list[str]]
        made_up(interrupted)
        result = driver.resume(run_dir.root, say=said.append)
        assert (result.finished, result.interrupted_by, result.confirmed) == (False, signal.SIGTERM, None)
        trained = made_up(by_trial)
        assert driver.resume(run_dir.root, say=said.append).finished
        assert trained == ["trial-2-seed-11", "trial-0-seed-11", *(f"trial-{number}-seed-12" for number in (1, 2, 0))]

    def test_a_search_that_was_extended_is_confirmed_again(
        self, made_up: Callable[[Scores], list[str]], tmp_path: Path
    ) -> None:
        run_dir = search_in(tmp_path, search=self.CONFIRM)
        trained = made_up(by_trial)
        driver.resume(run_dir.root, say=lambda line: None)
        trained.clear()
        run_trials(run_dir, [0.95])
        trained = made_up(lambda number, seed: 0.8 + 0.01 * seed)
        result = driver.resume(run_dir.root, say=lambda line: None)
        assert trained == ["trial-4-seed-11", "trial-4-seed-12"]
        assert result.confirmed is not None
        assert [trial.number for trial in result.confirmed.trials] == [4, 1, 0]

    def test_a_training_that_failed_fails_the_run_and_says_how_to_go_on(
        self, made_up: Callable[[Scores], list[str]], tmp_path: Path
    ) -> None:
        def full_disk(number: int, seed: int) -> float:
            raise OSError(28, "No space left on device")

        run_dir = search_in(tmp_path, search=self.CONFIRM)
        made_up(full_disk)
        with pytest.raises(WorkError, match=f"No space left.*continue with `raysearch resume {run_dir.root}`"):
            driver.resume(run_dir.root, say=lambda line: None)

    def test_the_command_line_says_what_came_of_it(
        self, made_up: Callable[[Scores], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run_dir = search_in(tmp_path, search=self.CONFIRM)
        made_up(lambda number, seed: 0.5 + 0.1 * ((number + seed) % 2) + 0.001 * number)
        search_commands.resume(run_dir.root)
        told = capsys.readouterr().out.partition("best miou:")[2]
        assert "confirmed:   0.5520  (best config: trial 2, mean over 2 seeds)" in told
        assert told.count("trial 2 minus ") == 2
        assert told.count(": not distinguishable") == 2


def images_in(folder: Path) -> Path:
    """Create a dataset of one image per split, without test images."""
    for split in ("train", "val"):
        for kind, mode in (("image", "RGB"), ("label", "L")):
            (folder / split / kind).mkdir(parents=True)
            Image.new(mode, (32, 32)).save(folder / split / kind / "a.png")
    return folder


class TestTestImages:
    def test_score_the_trainings_that_are_there(self, tmp_path: Path) -> None:
        run_dir = search_in(tmp_path)
        by_val = confirm(run_dir.root, top=1, seeds=1, executor="local", say=lambda line: None)
        before = pq.read_table(run_dir.confirm_training(1, 11) / TABLE)
        said: list[str] = []
        by_test = confirm(run_dir.root, top=1, seeds=1, split="test", executor="local", say=said.append)
        assert pq.read_table(run_dir.confirm_training(1, 11) / TABLE) == before
        assert [(t.number, t.val_values) for t in by_test.trials] == [(t.number, t.values) for t in by_val.trials]
        for trial in by_test.trials:
            folder = run_dir.confirm_training(trial.number, 11)
            config = Config.model_validate_json((folder / "config.json").read_text())
            confusion = score(config, folder / "checkpoint", split="test", say=lambda line: None)
            assert trial.values == (float(confusion.miou()),)
        assert any(line.startswith("miou on the test images at the full budget") for line in said)
        confirmed = block_of(run_dir)["confirmed"]
        assert (confirmed["split"], confirmed["mean"]) == ("test", by_test.best.mean)
        assert "confirmed miou on the test images" in run_dir.report.read_text()

    def test_a_dataset_without_them_is_wrong_input(self, tmp_path: Path) -> None:
        data = {"dir": str(images_in(tmp_path / "data")), "label_class_ids": [0, 1]}
        config = {"data": data, "train": {"max_iters": 4, "report_iters": 4}}
        confirming_test = {**TestAtTheEndOfASearch.CONFIRM, "confirm": {"split": "test"}}
        with pytest.raises(InputError, match=r"search\.confirm\.split: test: .*no folder test/.*; add test/") as caught:
            preflight(spec_of(tmp_path, config=config, search=confirming_test))
        assert len(caught.value.faults) == 1
        run_dir = search_in(tmp_path, config=config)
        with pytest.raises(InputError, match="no folder test/"):
            confirm(run_dir.root, top=1, seeds=1, split="test", say=lambda line: None)
        assert not (run_dir.root / "confirm").exists()

    def test_have_no_loss(self, tmp_path: Path) -> None:
        run_dir = search_in(tmp_path, objective={"metric": "loss", "mode": "min"})
        with pytest.raises(InputError, match="loss cannot be computed on the test images; confirm on val"):
            confirm(run_dir.root, top=1, seeds=1, split="test")


@pytest.mark.parametrize(("jobs", "concurrent"), [(None, "auto"), (3, 3)])
def test_trainings_have_the_resources_of_a_trial(
    jobs: int | None, concurrent: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ResourceSettings] = []

    def open_place(where: Where, resources: ResourceSettings) -> MadeUpPlace:
        asked.append(resources)
        return MadeUpPlace(MadeUpWorld(by_trial, []))

    run_dir = search_in(tmp_path, resources={"cpu": 2, "gpu": 0.5})
    monkeypatch.setattr(Where, "open", open_place)
    confirm(run_dir.root, top=1, seeds=1, jobs=jobs, say=lambda line: None)
    assert [(one.cpu, one.gpu, one.concurrent) for one in asked] == [(2, 0.5, concurrent)]
    confirm(run_dir.root, top=1, seeds=1, jobs=jobs, say=lambda line: None)
    assert len(asked) == 1, "nothing is left to train"


def what_train_gives(run_dir: RunDir, folder: Path) -> list[tuple[int, int, float | None, int]]:
    """Return the rows of a confirmation of the best trial and the default, trained by the command `train`."""
    spec, history = load_space(run_dir.space), read_history(run_dir.journal)
    rows: list[tuple[int, int, float | None, int]] = []
    for number in (1, 0):
        values = {} if number == 0 else history.trials[number].values
        config = Config.model_validate(spec.trial_config({**values, "train.seed": 11}))
        rows.append((number, 11, train(config, folder / f"train-{number}", say=lambda line: None), 4))
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_it_goes_on_to_what_train_gives(number: signal.Signals, tmp_path: Path) -> None:
    run_dir = search_in(tmp_path)
    words = ["confirm", str(run_dir.root), "--top", "1", "--seeds", "1", "--executor", "local"]
    process = signalled(number, "raysearch.runs.trainings:write_reports", 1, *words)
    output = process.stdout
    assert "Traceback" not in output
    if number is signal.SIGTERM:
        assert process.returncode == 143, output
        assert "interrupted; everything is saved, and the next call continues" in output
    else:
        assert process.returncode == -signal.SIGKILL, output
    assert not run_dir.confirmed_table.exists()
    said: list[str] = []
    confirm(run_dir.root, top=1, seeds=1, executor="local", say=said.append)
    assert not any(line.startswith("trial 1, seed 11: iteration 2/4") for line in said), "it had trained that before"
    assert rows_of(run_dir) == what_train_gives(run_dir, tmp_path)
    for trial in (0, 1):
        folder = run_dir.confirm_training(trial, 11)
        assert sorted(path.name for path in folder.iterdir()) == ["checkpoint", "config.json", "results.csv", TABLE]
        assert (folder / "checkpoint" / "model.pt").is_file()


def test_what_an_earlier_version_left_half_trained_is_trained_anew(tmp_path: Path) -> None:
    """Version 0.1 kept a single `checkpoint/` beside the table, in another format."""
    run_dir = search_in(tmp_path)
    folder = run_dir.confirm_training(1, 11)
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "model.pt").write_text("weights at iteration 2")
    history = read_history(run_dir.journal)
    config = load_space(run_dir.space).trial_config({**history.trials[1].values, "train.seed": 11})
    (folder / "config.json").write_text(json.dumps(config))
    write_reports([{"trial": 0, "iteration": 2, "value": 0.5}], folder / TABLE)
    confirm(run_dir.root, top=1, seeds=1, executor="local", say=lambda line: None)
    assert rows_of(run_dir) == what_train_gives(run_dir, tmp_path)


def test_on_ray_it_gives_what_train_gives(local_ray: None, tmp_path: Path) -> None:
    run_dir, shown = search_in(tmp_path), Shown()
    confirm(run_dir.root, top=1, seeds=1, jobs=1, say=lambda line: None, show=shown)
    assert rows_of(run_dir) == what_train_gives(run_dir, tmp_path)
    assert shown.trainings == [{"trial": 1, "seed": 11}, {"trial": 0, "seed": 11}]
    assert shown.iterations == {0: 4, 1: 4}


class Shown(Observer):
    """An observer that records what a view receives of a confirmation."""

    name = "the test"

    def __init__(self) -> None:
        self.trainings: list[dict[str, Any]] = []
        self.iterations: dict[int, int] = {}

    def update_confirmation(self, changed: Sequence[TrialHistory]) -> None:
        for trial in changed:
            if trial.number == len(self.trainings):
                self.trainings.append(trial.values)
            if trial.last is not None:
                self.iterations[trial.number] = trial.last.iteration


def test_a_fault_of_the_environment_halts_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    run_dir = search_in(tmp_path)
    monkeypatch.setattr("raysearch.execution.trial_actor.put_folder", full)
    with pytest.raises(WorkError, match="No space left on device; free some disk space; the next call only repeats"):
        confirm(run_dir.root, top=2, seeds=2, executor="local", say=lambda line: None)
    assert len(list((run_dir.root / "confirm").iterdir())) == 1, "no other training was tried"


class TestWrongInput:
    def test_numbers_below_one_all_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            confirm(tmp_path, top=0, seeds=-1, jobs=0)
        assert [str(fault) for fault in caught.value.faults] == [
            "--top: 0 is below 1; give 1 or more",
            "--seeds: -1 is below 1; give 1 or more",
            "--jobs: 0 is below 1; give 1 or more",
        ]

    def test_no_such_run(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="there is no such folder"):
            confirm(tmp_path / "nowhere", top=1, seeds=1)

    def test_a_search_that_has_not_finished(self, tmp_path: Path) -> None:
        run_dir = search_in(tmp_path, unfinished=True)
        with pytest.raises(
            InputError, match="the search has not finished: trial 3 has not ended; run `raysearch resume"
        ):
            confirm(run_dir.root, top=1, seeds=1)

    def test_a_search_in_which_nothing_has_a_score(self, tmp_path: Path) -> None:
        run_dir = search_in(tmp_path, status=dict.fromkeys(range(4), "failed"))
        with pytest.raises(InputError, match="no trial has a score that could be confirmed"):
            confirm(run_dir.root, top=1, seeds=1)

    def test_a_run_that_something_else_is_writing(self, tmp_path: Path) -> None:
        run_dir = search_in(tmp_path)
        with Journal(run_dir.journal), pytest.raises(InputError, match="another raysearch is running this search"):
            confirm(run_dir.root, top=1, seeds=1)

    def test_a_trainable_of_the_users_own(self, tmp_path: Path) -> None:
        spec, run_dir = toy_spec(tmp_path), RunDir.create("toy", tmp_path / "run")
        run_dir.space.write_text(spec.to_yaml(), encoding="utf-8")
        run_search(spec, run_dir.journal)
        with pytest.raises(
            InputError,
            match="has no with_seed, so its seed cannot be set",
        ) as caught:
            confirm(run_dir.root, top=1, seeds=1)
        assert len(caught.value.faults) == 1

    def test_a_searched_seed(self, tmp_path: Path) -> None:
        run_dir = search_in(tmp_path)
        space = {"train.seed": {"type": "int", "low": 0, "high": 9}}
        run_dir.space.write_text(spec_of(tmp_path, space=space).to_yaml(), encoding="utf-8")
        with pytest.raises(InputError, match=r"train\.seed is searched"):
            confirm(run_dir.root, top=1, seeds=1)

    def test_a_dataset_that_is_gone_is_said_before_anything_starts(self, tmp_path: Path) -> None:
        run_dir = search_in(tmp_path)
        config = {"data": {"dir": str(tmp_path / "gone"), "label_class_ids": [0, 1]}}
        run_dir.space.write_text(spec_of(tmp_path, config=config).to_yaml(), encoding="utf-8")
        with pytest.raises(InputError, match="gone"):
            confirm(run_dir.root, top=1, seeds=1, say=lambda line: None)
        assert not (run_dir.root / "confirm").exists()
