"""Tests of trusted code: nothing that a file from elsewhere names is imported before the user has said so."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import raysearch
from raysearch.config import shipped
from raysearch.config.config_files import load_trained_config
from raysearch.config.trust import check_trusted, code_of_space, named_by_space, trust
from raysearch.errors import InputError
from raysearch.history.run_dir import RunDir
from raysearch.report.comparison import write_comparison
from raysearch.results.export import best_config_text
from raysearch.results.onnx_export import export_onnx
from raysearch.runs import confirm, driver
from raysearch.runs.outcome import write_outcome
from raysearch.search.run import Run
from raysearch.search.warm_start import read_prior
from raysearch.space.parsing import load_space
from tests.raysearch.command import Command
from tests.raysearch.toy import TRAINABLE, run_search, toy_spec

RUNS = Path(__file__).parents[1] / "fixtures" / "runs"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide the folder of a user's configuration, which holds nothing yet."""
    folder = tmp_path / "home" / ".config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    return folder


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """Provide the file that planted code creates when it is imported."""
    return tmp_path / "ran"


@pytest.fixture
def strangers(tmp_path: Path, ran: Path, home: Path) -> RunDir:
    """Provide the folder of a run whose space file names code of a stranger."""
    run_dir = RunDir.create("toy", tmp_path / "strangers")
    spec = toy_spec(run_dir.root)
    shutil.rmtree(home)  # the code is not the user's own
    run_search(spec, run_dir.journal)
    (run_dir.root / "toy.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n{TRAINABLE}")
    run_dir.space.write_text(spec.to_yaml())
    run_dir.best_config.write_text(json.dumps({"x": 0.5, "raysearch": {"trainable": "toy.py:Toy", "metric": "score"}}))
    run_dir.best_checkpoint.mkdir()
    return run_dir


READERS: dict[str, Callable[[RunDir], Any]] = {
    "open_run": lambda run_dir: raysearch.open_run(run_dir.root),
    "report": lambda run_dir: write_outcome(Run.open(run_dir.root)),
    "comparison": lambda run_dir: write_comparison([run_dir.root, RUNS / "shapes"], run_dir.root / "page.html"),
    "export": best_config_text,
    "onnx": lambda run_dir: export_onnx(run_dir.root, run_dir.root / "network.onnx"),
    "resume": lambda run_dir: driver.resume(run_dir.root, executor="local"),
    "confirm": lambda run_dir: confirm.confirm(run_dir.root, top=1, seeds=1, executor="local"),
    "train": lambda run_dir: load_trained_config(run_dir.best_config),
}


@pytest.mark.parametrize("name", READERS)
def test_a_strangers_code_is_not_run(name: str, strangers: RunDir, ran: Path) -> None:
    files = sorted(strangers.root.rglob("*"))
    with pytest.raises(InputError) as caught:
        READERS[name](strangers)
    (fault,) = caught.value.faults
    given = strangers.best_config if name in ("onnx", "train") else strangers.root
    assert fault.where == str(given)
    assert fault.what == f"names code that you have not run before: {strangers.root / 'toy.py'}"
    assert f"`raysearch trust {given}`" in fault.fix
    assert not ran.exists()
    assert sorted(strangers.root.rglob("*")) == files


def test_a_warm_start_takes_points_from_a_strangers_run_and_no_code(
    strangers: RunDir, ran: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    search = {"algorithm": "tpe", "trials": 4, "warm_start": [str(strangers.root)]}
    prior = read_prior(toy_spec(tmp_path / "mine", search=search))
    assert prior.first_points
    assert any("names code that you have not run before" in notice for notice in prior.notices)
    assert not ran.exists()


def test_a_strangers_sampler_is_not_run(strangers: RunDir, ran: Path) -> None:
    document = yaml.safe_load(strangers.space.read_text())
    sampler = "from optuna.samplers import RandomSampler as Mine\n"
    (strangers.root / "sampler.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\n{sampler}")
    (strangers.root / "toy.py").write_text(TRAINABLE)
    trust(["toy.py:Toy"], strangers.root)
    search = {**document["search"], "algorithm": "sampler.py:Mine"}
    strangers.space.write_text(yaml.safe_dump({**document, "search": search}))
    with pytest.raises(InputError, match=r"names code that you have not run before: .*/sampler\.py"):
        Run.open(strangers.root)
    assert not ran.exists()


def test_the_users_word_is_enough_once_and_for_all(strangers: RunDir, ran: Path, command: Command, home: Path) -> None:
    done = command("trust", strangers.root)
    assert (done.code, done.out) == (0, f"trusted: {strangers.root / 'toy.py'}\n")
    assert not ran.exists(), "to trust code is not to run it"
    assert command("export", strangers.root).code == 0
    assert ran.exists()
    assert command("trust", strangers.best_config).code == 0
    strangers.best_config.rename(strangers.best_checkpoint / "config.json")  # as in the folder of a training
    (strangers.best_checkpoint / "toy.py").touch()
    assert command("trust", strangers.best_checkpoint).out == f"trusted: {strangers.best_checkpoint / 'toy.py'}\n"
    listed = home / "raysearch" / "trusted"
    places = [str(folder / "toy.py") for folder in (strangers.root, strangers.best_checkpoint)]
    assert listed.read_text() == "".join(f"{json.dumps(place)}\n" for place in places), "each once"
    assert (listed.stat().st_mode & 0o777, listed.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_search_of_ones_own_needs_no_word_wherever_its_folder_goes(tmp_path: Path) -> None:
    trials = Path(__file__).parents[1] / "trials.py"
    document = {
        "trainable": f"{trials}:Curve",
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "random", "trials": 2},
        "scheduler": {"name": "none", "max_iters": 2},
    }
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(document))
    driver.run(load_space(tmp_path / "space.yaml"), tmp_path / "run", executor="local", say=lambda line: None)
    moved = Path(shutil.move(tmp_path / "run", tmp_path / "moved"))
    assert driver.resume(moved, add_trials=1, executor="local", say=lambda line: None).num_trials == 3
    assert load_trained_config(moved / "best_config.json").trainable.name == f"{trials}:Curve"


def test_a_list_that_cannot_be_written_stops_no_search(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = toy_spec(tmp_path)
    shutil.rmtree(home.parent)
    home.parent.write_text("a file, where a folder should be")
    with pytest.raises(InputError, match=r"trusted: cannot be written .*; set XDG_CONFIG_HOME"):
        trust(["mine.py:Mine"], tmp_path)
    said: list[str] = []
    driver._remember_code(spec, said.append)
    assert said[0].startswith("note: commands on this run will not trust its code: ")


@pytest.mark.parametrize(
    "reference",
    [
        "trainables.contrastive_segmentation:ContrastiveSegmentation",
        f"{shipped.FOLDER}/quadratic_trainable.py:Quadratic",
        "optuna.samplers.QMCSampler",
        "raysearch.algorithms:SobolSampler",
    ],
)
def test_what_ships_with_raysearch_needs_no_word(reference: str, tmp_path: Path, home: Path) -> None:
    check_trusted([reference], tmp_path, tmp_path)
    assert trust([reference], tmp_path) == []
    assert not home.exists()


@pytest.mark.parametrize(
    "reference",
    ["os:system", "raysearch:run", "trainables.trainer:Trainer", "optuna:create_study", "a.b.c:D", ":", "..:x"],
)
def test_no_other_module_is_trusted(reference: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names code that you have not run before"):
        check_trusted([reference], tmp_path, tmp_path)
    trust([reference], tmp_path)
    check_trusted([reference], tmp_path, tmp_path)


def test_a_module_of_the_same_name_elsewhere_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "module_of_a_user.py").touch()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path / "mine")
        trust(["module_of_a_user:Mine"], tmp_path)
        check_trusted(["module_of_a_user:Mine"], tmp_path, tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "theirs")
    with pytest.raises(InputError, match=r"module module_of_a_user in .*/theirs/module_of_a_user\.py"):
        check_trusted(["module_of_a_user:Mine"], tmp_path, tmp_path)


def test_a_resumed_search_of_a_stranger_sends_nothing_to_its_tracker(
    strangers: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysearch.space.track_settings.find_spec", lambda library: True)
    trust(["toy.py:Toy"], strangers.root)
    document = yaml.safe_load(strangers.space.read_text())
    for address in ("http://198.51.100.7:5000", f"sqlite:///{tmp_path}/elsewhere.db"):
        strangers.space.write_text(yaml.safe_dump({**document, "track": {"mlflow": address}}))
        with pytest.raises(InputError, match="names a tracker that you have not used before: ") as caught:
            driver.resume(strangers.root, executor="local", say=lambda line: None)
        assert address in str(caught.value)
        assert Run.open(strangers.root).spec.track.mlflow == address, "to read it is to send nothing"
    trust(named_by_space({"track": {"mlflow": "http://a"}}), tmp_path)
    check_trusted(["http://a"], tmp_path, tmp_path)


def test_the_code_of_a_space_file() -> None:
    assert code_of_space({}) == ("trainables.contrastive_segmentation:ContrastiveSegmentation",)
    assert code_of_space({"trainable": 3, "search": {"algorithm": "tpe"}}) == ()
    assert code_of_space({"trainable": "a.py:A", "search": {"algorithm": "b.C"}}) == ("a.py:A", "b.C")
