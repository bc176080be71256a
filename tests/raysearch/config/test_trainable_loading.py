import subprocess
import sys
from pathlib import Path

import pytest

from raysearch.config.trainable_loading import load_trainable
from raysearch.errors import InputError

SOURCE = """
from pydantic import BaseModel

FACTOR = 3
NUMBER = 7


class Settings(BaseModel):
    rate: float = 0.5


def double(value):
    return FACTOR * value


class Mine:
    Config = Settings
    METRICS = {"loss", "score"}

    @classmethod
    def preflight(cls, config):
        return ["seen"]

    def step(self):
        return double(Settings(rate=2).rate)


def function(config):
    return double(config["rate"])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    return tmp_path


def message(reference: str, base_dir: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_trainable(reference, base_dir)
    assert len(caught.value.faults) == 1
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{reference}: ")
    return text


def test_a_class_comes_with_what_it_declares(folder: Path) -> None:
    loaded = load_trainable("mine.py:Mine", folder)
    assert loaded.name == "mine.py:Mine"
    assert loaded.target().step() == 6
    assert loaded.config_model is not None
    assert loaded.config_model().model_dump() == {"rate": 0.5}
    assert loaded.metrics == frozenset({"loss", "score"})
    assert loaded.preflight is not None
    assert loaded.preflight(None) == ["seen"]
    assert not loaded.is_function
    assert loaded.source_file == (folder / "mine.py").resolve()


def test_a_function_declares_nothing(folder: Path) -> None:
    loaded = load_trainable("mine.py:function", folder)
    assert loaded.is_function
    assert (loaded.config_model, loaded.metrics, loaded.preflight) == (None, None, None)
    assert loaded.target({"rate": 2}) == 6


def test_a_dotted_module_is_imported() -> None:
    loaded = load_trainable("fractions:Fraction", Path("/nowhere"))
    assert loaded.target(1, 2) == 0.5
    assert loaded.source_file is None


def test_the_home_folder_and_subfolders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "sub").mkdir()
    assert load_trainable("~/mine.py:Mine", Path("/nowhere")).target().step() == 6
    assert load_trainable("../mine.py:Mine", folder / "sub").target().step() == 6


def test_the_same_file_is_loaded_once_and_an_edited_one_anew(folder: Path) -> None:
    first = load_trainable("mine.py:Mine", folder)
    assert load_trainable("mine.py:Mine", folder) == first
    (folder / "mine.py").write_text(SOURCE.replace("FACTOR = 3", "FACTOR = 4"))
    assert load_trainable("mine.py:Mine", folder).target().step() == 8
    assert first.target().step() == 6


def test_two_files_of_one_name_stay_apart(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "mine.py").write_text(SOURCE.replace("FACTOR = 3", "FACTOR = 5"))
    assert load_trainable("mine.py:Mine", folder).target().step() == 6
    assert load_trainable("sub/mine.py:Mine", folder).target().step() == 10


def test_a_worker_that_cannot_find_the_file_gets_it_by_value(folder: Path) -> None:
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    loaded = load_trainable("mine.py:Mine", folder)
    (folder / "pickled").write_bytes(cloudpickle.dumps(loaded))
    (folder / "mine.py").unlink()
    program = (
        "import pickle, sys\n"
        "loaded = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(loaded.target().step(), loaded.config_model(rate='1e-4').rate)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(folder / "pickled")], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["6.0", "0.0001"]


@pytest.mark.parametrize("reference", ["mine.py", "mine.py:", ":Mine", "", "mine.py:1x", "some/module:Mine", "a b:C"])
def test_a_wrong_form_is_told_the_right_one(folder: Path, reference: str) -> None:
    with pytest.raises(InputError, match=r"write package\.module:Name or file\.py:Name"):
        load_trainable(reference, folder)


def test_a_missing_file(folder: Path) -> None:
    assert str(folder / "absent.py") in message("absent.py:Mine", folder)


def test_a_missing_module() -> None:
    assert "ModuleNotFoundError: No module named 'no_such_module'" in message("no_such_module:Mine", Path())


def test_a_misspelt_name_gets_the_nearest(folder: Path) -> None:
    assert "did you mean function?" in message("mine.py:functoin", folder)
    assert "it has Settings, double, Mine, function" in message("mine.py:Xyzzy", folder)


def test_neither_class_nor_function(folder: Path) -> None:
    assert "NUMBER is a int; a trainable is a class or a function" in message("mine.py:NUMBER", folder)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("raise SystemExit('two\\nlines')", "SystemExit: two lines"),
    ],
)
def test_a_file_that_fails_says_why_in_one_line(tmp_path: Path, source: str, expected: str) -> None:
    (tmp_path / "bad.py").write_text(source)
    assert f"cannot be imported: {expected}" in message("bad.py:Mine", tmp_path)
    assert "cannot be imported" in message("bad.py:Mine", tmp_path), "a failed module must not be kept half loaded"


def test_wrong_declarations(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("class A:\n    Config = {}\nclass B:\n    METRICS = 'miou'\n")
    assert "Config must be a pydantic model" in message("wrong.py:A", tmp_path)
    assert "METRICS must be names" in message("wrong.py:B", tmp_path)
