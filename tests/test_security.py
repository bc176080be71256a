"""Tests of what SECURITY.md says about the code: only a few named places can run code that they read as data."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("raysearch", "trainables") for path in (ROOT / package).rglob("*.py"))

UNPICKLES = {
    "raysearch/checks/measure.py": "what the parent process has sent",
    "raysearch/execution/built_trainable.py": "a checkpoint that a trainable returned as a dictionary, in a run folder",
    "raysearch/execution/tune_executor.py": "an error that Ray has stored",
}
"""Files that load pickles, with the kinds of pickles."""


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
