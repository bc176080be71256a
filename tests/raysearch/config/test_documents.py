"""Tests that every reader of files names a file or folder of the wrong kind in a single message."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from raysearch.commands.data_commands import a_dataset
from raysearch.config.config_files import load_config
from raysearch.config.documents import SPACE_KEYS, Kind, check_kind
from raysearch.errors import InputError
from raysearch.execution import standalone
from raysearch.history.run_dir import RunDir
from raysearch.space.parsing import load_space
from raysearch.space.settings import KEYS
from raysearch.space.sweeps import Wish, convert
from tests.raysearch.ours import OURS
from trainables.config import Config

SPACE = """
space: {optim.lr: {type: float, low: 1e-3, high: 0.1}}
objective: {metric: miou, mode: max}
search: {trials: 2}
"""
SWEEP = """
method: random
name: sweep
metric: {name: miou, goal: maximize}
parameters: {optim.lr: {min: 0.001, max: 0.1}}
"""
OPENSEG = {"method": "fcn_segmentor", "data": {"train_batch_size": 2}, "network": {"backbone": "hrnet48"}}

READERS: dict[str, Callable[[Path], Any]] = {
    "a space file": load_space,
    "a trial config": lambda path: load_config(path, Config),
    "a W&B sweep": lambda path: convert(str(path), Wish(), path.parent),
    "the folder of a run": RunDir.open,
    "the folder of a checkpoint": lambda path: standalone.evaluate(OURS, Config(), path),
    "a dataset folder": a_dataset,
    "a palette": lambda path: check_kind(path, str(path), Kind.PALETTE),
}

TRAINS = "`raysearch train {}` trains it, and a space file with `config: {}` searches around it"
OF_A_DATASET = "`raysearch init {folder}` writes a first space file for its dataset"
KINDS = {
    "space.yaml": ("a space file", "`raysearch run {}` searches it"),
    "config.json": ("a trial config", TRAINS),
    "config.yaml": ("a trial config", TRAINS),
    "of_a_search.json": ("a trial config", TRAINS),
    "openseg.json": ("a config of openseg or ContrastiveSeg", TRAINS),
    "sweep.yaml": ("a W&B sweep", "`raysearch convert {} --out space.yaml` converts it to a space file"),
    "coco.json": ("a file of COCO annotations", OF_A_DATASET),
    "data.yaml": ("the description of a YOLO dataset", OF_A_DATASET),
    "copied_journal.json": ("the journal of a search", ""),
    "notes.csv": ("a table", "search.warm_start of a space file takes tables of scores"),
    "weights.pth": ("a file of network weights", "it can be given as model.weights of a trial config"),
    "run": ("the folder of a run", "`raysearch resume {}` continues it"),
    "training": ("the folder of a training", ""),
    "checkpoint": ("the folder of a checkpoint", "`raysearch evaluate CONFIG.json --checkpoint {}` scores it"),
    "potatoes": ("a dataset folder", "`raysearch init {}` writes a first space file for it"),
}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a folder with a file or folder of every kind."""
    folder = tmp_path_factory.mktemp("things")
    texts = {
        "space.yaml": SPACE,
        "config.json": json.dumps({"optim": {"lr": 0.1}, "train": {"max_iters": 6}}),
        "config.yaml": "optim: {lr: 0.1}\n",
        "of_a_search.json": json.dumps({"rate": 0.1, "raysearch": {"metric": "loss"}}),
        "openseg.json": json.dumps(OPENSEG),
        "sweep.yaml": SWEEP,
        "coco.json": json.dumps({"images": [], "annotations": [], "categories": []}),
        "data.yaml": "train: images/train\nval: images/val\nnc: 1\nnames: [potato]\n",
        "copied_journal.json": '{"op_code": 0, "worker_id": "w", "study_name": "a"}\n{"op_code": 4}\n',
        "notes.csv": "optim.lr,score\n0.1,0.5\n",
        "weights.pth": "weights",
        "run/study.journal": '{"op_code": 0}\n',
        "run/space.yaml": SPACE,
        "run/best_config.json": json.dumps({"raysearch": {"metric": "miou"}}),
        "run/best_checkpoint/model.pt": "weights",
        "training/config.json": "{}",
        "training/checkpoint/model.pt": "weights",
        "checkpoint/model.pt": "weights",
        "checkpoint/config.json": "{}",
        "potatoes/train/image/a.png": "image",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def told(read: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    (fault,) = caught.value.faults
    return str(fault)


@pytest.mark.parametrize("wanted", READERS)
@pytest.mark.parametrize("name", KINDS)
def test_every_reader_knows_every_other_kind(wanted: str, name: str, things: Path) -> None:
    kind, use = KINDS[name]
    takes = {
        "a trial config": ("config.json", "config.yaml", "of_a_search.json", "openseg.json"),
        "a palette": ("notes.csv",),
    }
    if kind == wanted or name in takes.get(wanted, ()):
        return
    message = told(READERS[wanted], things / name)
    assert message.startswith(f"{things / name}: is {kind}, but {wanted} is needed here")
    is_circular = (wanted, name) == ("the folder of a checkpoint", "weights.pth")
    if wanted == "a dataset folder" and use == OF_A_DATASET:
        assert message.endswith(f"give the folder that holds it, {things}")
    elif not is_circular:
        assert message.endswith(use.replace("{}", str(things / name)).replace("{folder}", str(things)))


@pytest.mark.parametrize(
    ("wanted", "given", "instead"),
    [
        ("a space file", "run", "run/space.yaml"),
        ("a space file", "run/study.journal", "run/space.yaml"),
        ("a trial config", "run", "run/best_config.json"),
        ("a trial config", "run/study.journal", "run/best_config.json"),
        ("a trial config", "training", "training/config.json"),
        ("a trial config", "checkpoint", "checkpoint/config.json"),
        ("the folder of a run", "run/study.journal", "run"),
        ("the folder of a run", "run/space.yaml", "run"),
        ("the folder of a run", "run/best_config.json", "run"),
        ("the folder of a run", "run/best_checkpoint", "run"),
        ("the folder of a checkpoint", "run", "run/best_checkpoint"),
        ("the folder of a checkpoint", "training", "training/checkpoint"),
    ],
)
def test_what_was_meant_is_named(wanted: str, given: str, instead: str, things: Path) -> None:
    first_fix = told(READERS[wanted], things / given).split("; ")[1]
    assert first_fix == f"give {things / instead}"


@pytest.mark.parametrize("wanted", [wanted for wanted in READERS if wanted != "a space file"])
def test_the_name_of_a_shipped_space_file_is_known(
    wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = told(READERS[wanted], Path("demo"))
    assert message.startswith(f"demo: is the name of a shipped space file, but {wanted} is needed here; ")
    assert message.endswith("`raysearch run demo` searches it")


def test_a_command_in_a_message_runs_with_a_space_in_the_path(things: Path, tmp_path: Path) -> None:
    path = tmp_path / "my sweep.yaml"
    path.write_text(SWEEP)
    assert f"`raysearch convert '{path}' --out space.yaml`" in told(load_space, path)


def test_a_document_with_something_of_its_own_kind_is_read_as_it_is_meant(tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(SPACE + "data: {dir: potatoes}\n")
    assert told(load_space, path).startswith(f"{path}: data: is not known here")
    path.write_text("optim: {lr: 0.1}\nspace: {}\n")
    assert told(READERS["a trial config"], path).startswith(f"{path}: space: the trial config has no such value")


def test_a_document_of_no_kind_is_no_space_file_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"rate": 0.1, "how": "fast"}')
    assert told(load_space, path).startswith(f"{path}: is not a space file: it has none of the sections trainable, ")


def test_the_config_of_ones_own_trainable_may_have_the_keys_of_another_document(tmp_path: Path) -> None:
    class Own(BaseModel):
        search: str
        objective: dict[str, str]

    path = tmp_path / "own.json"
    path.write_text(json.dumps({"search": "beam", "objective": {"metric": "loss"}}))
    assert load_config(path, Own).search == "beam"

    (tmp_path / "free.py").write_text("def train(config): ...\n")
    (tmp_path / "free.json").write_text(json.dumps({"model": "x", "optim": 1, "search": "beam", "space": {"a": 1}}))
    space = tmp_path / "space.yaml"
    space.write_text(
        "trainable: free.py:train\nconfig: free.json\nspace: {optim: {type: int, low: 1, high: 2}}\n"
        "objective: {metric: loss, mode: min}\nscheduler: {name: none, max_iters: 2}\n"
    )
    assert load_space(space).config["search"] == "beam"
    (tmp_path / "free.json").write_text(json.dumps({"space": {}, "objective": {"metric": "loss", "mode": "min"}}))
    assert "free.json: is a space file, but a trial config is needed here" in told(load_space, space)


def test_the_keys_are_those_of_the_documents_themselves() -> None:
    assert {*SPACE_KEYS, "name"} == set(KEYS)
    assert set(SPACE_KEYS).isdisjoint(Config.model_fields)
