"""Tests of what `pip install` installs: the packages with their types, and the shipped space files."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, because a build leaves folders beside the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("raysearch", "trainables", "search_spaces"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    words = ["-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    subprocess.run([sys.executable, *words], cwd=source, check=True, capture_output=True)
    (built,) = (source / "dist").glob("raysearch-*.whl")
    return built


def test_it_holds_all_files_of_the_packages(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for package in ("raysearch", "trainables"):
        assert f"{package}/py.typed" in held
    sources = [path for name in ("raysearch", "trainables", "search_spaces") for path in (ROOT / name).rglob("*")]
    wanted = {str(p.relative_to(ROOT)) for p in sources if p.is_file() and p.suffix not in (".pyc", ".pyo")}
    assert wanted <= held
    assert {name.split("/")[0] for name in held} == {"raysearch", "trainables", "search_spaces", *_metadata(held)}


def test_it_works_where_there_is_no_clone(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "raysearch", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    assert "Search for the best config" in run("--help")
    assert run("spaces", "demo") == (ROOT / "search_spaces" / "demo.yaml").read_text(encoding="utf-8")
    assert "nothing wrong was found" in run("check", "quadratic")


def _metadata(held: set[str]) -> set[str]:
    return {name.split("/")[0] for name in held if ".dist-info/" in name}
