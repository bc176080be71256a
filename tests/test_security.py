"""Tests of what SECURITY.md says about the code: only a few named places can run code that they read as data."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysearch.errors import InputError
from trainables.data.annotations import cvat

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("raysearch", "trainables") for path in (ROOT / package).rglob("*.py"))

UNPICKLES = {
    "raysearch/checks/measure.py": "what the parent process has sent",
    "raysearch/execution/tune_executor.py": "an error that Ray has stored",
}
"""Files that load pickles, with the kinds of pickles."""

BANDIT = {
    ("raysearch/checks/measure.py", "B301"): "loads what the parent process has sent",
    ("raysearch/execution/tune_executor.py", "B301"): "loads an error that Ray has stored in this search",
    ("raysearch/execution/cluster.py", "B105"): "is the text of a message about tokens",
    ("raysearch/execution/cluster.py", "B603"): "starts Python itself, without a shell; an address is one argument",
    ("trainables/data/annotations/cvat.py", "B314"): "expat limits entities, and ElementTree fetches none",
    ("trainables/data/annotations/cvat.py", "B405"): "as above",
}
"""Findings of bandit that are no danger, by file and kind, each with the reason."""

ADVISORIES: dict[str, str] = {}
"""Known vulnerabilities of installed packages that cannot be reached from here, each with the reason."""


def calls(source: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name of every called function and its keyword arguments, as written."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg or "**": ast.unparse(word.value) for word in node.keywords}


def dangers(source: str) -> set[str]:
    """Return the kinds of calls in a source by which data can run code."""
    found = set()
    for name, words in calls(source):
        last = name.rpartition(".")[2]
        if (last in ("load", "loads", "Unpickler") and "pickle" in name) or name == "marshal.loads":
            found.add("unpickles")
        if name == "torch.load" and words.get("weights_only") != "True":
            found.add("loads more than weights")
        if name in ("np.load", "numpy.load") and words.get("allow_pickle", "False") != "False":
            found.add("unpickles")
        if name in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"):
            found.add("loads YAML that can create objects")
        if name in ("eval", "exec", "os.system", "os.popen") or words.get("shell") == "True":
            found.add("executes text")
    return found


def test_only_the_named_files_unpickle_and_nothing_else_runs_code() -> None:
    found = {str(path.relative_to(ROOT)): dangers(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert len(found) > 150
    assert {path: kinds for path, kinds in found.items() if kinds} == {path: {"unpickles"} for path in UNPICKLES}


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("pickle.load(file)", "unpickles"),
        ("ray.cloudpickle.loads(data)", "unpickles"),
        ("np.load(path, allow_pickle=True)", "unpickles"),
        ("torch.load(path)", "loads more than weights"),
        ("torch.load(path, weights_only=False)", "loads more than weights"),
        ("yaml.load(text, Loader=yaml.Loader)", "loads YAML that can create objects"),
        ("subprocess.run(text, shell=True)", "executes text"),
        ("eval(text)", "executes text"),
    ],
)
def test_what_is_looked_for_is_found(source: str, kind: str) -> None:
    assert dangers(source) == {kind}


@pytest.mark.parametrize("source", ["json.loads(text)", "yaml.safe_load(text)", "torch.load(p, weights_only=True)"])
def test_safe_calls_are_none(source: str) -> None:
    assert dangers(source) == set()


@pytest.mark.slow
def test_bandit_finds_nothing_new() -> None:
    words = ["-q", "-c", "pyproject.toml", "-f", "json", "-r", "raysearch", "trainables"]
    command = [sys.executable, "-m", "bandit", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert not found["errors"]
    assert {(one["filename"], one["test_id"]) for one in found["results"]} == BANDIT.keys()


@pytest.mark.slow
def test_no_installed_package_has_a_known_vulnerability() -> None:
    """The advisories are asked for at the package index, so the test needs a network."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    packages = json.loads(done.stdout)["dependencies"] if done.stdout.startswith("{") else []
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        pytest.skip("no index with advisories can be reached")
    found = {f"{one['name']} {flaw['id']}" for one in audited for flaw in one["vulns"]}
    assert found == ADVISORIES.keys()


@pytest.mark.parametrize("fetches", [False, True], ids=["an entity that grows", "an entity that is a file"])
def test_xml_of_a_stranger_neither_grows_nor_reads_a_file(fetches: bool, tmp_path: Path) -> None:
    """This is why an export in XML may be read by the standard library."""
    entities = [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9)]
    secret = tmp_path / "secret"
    secret.write_text("told")
    entities = [f'<!ENTITY e8 SYSTEM "{secret.as_uri()}">'] if fetches else ['<!ENTITY e0 "aaaaaaaaaa">', *entities]
    text = f"<!DOCTYPE a [{''.join(entities)}]><annotations><version>&e8;</version></annotations>"
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(InputError, match="is not valid XML"):
        cvat.read(tmp_path)
