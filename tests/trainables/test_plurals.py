import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import raysearch
import trainables
from trainables.plurals import counted

_NOUNS = (
    "annotation|cell|channel|class|colour|combination|coordinate|crowd|entry|error|fault|file|image|iteration|key|"
    "label|line|mask|number|object|pair|parameter|report|result|row|run|seed|shape|task|tensor|trial|value|worker"
)
_COUNTED = re.compile(
    rf"(?<!the )(?<!most )\{{}}( more| new| such| full| training| label)? ({_NOUNS})(s|es)\b(?!\.\w|/s|: )"
)
"""Pattern of a value in an f-string before a plural, which is wrong if the value is 1."""


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "trial", "0 trials"),
        (1, "trial", "1 trial"),
        (2, "trial", "2 trials"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (3, "search", "3 searches"),
        (0.5, "CPU", "0.5 CPUs"),
    ],
)
def test_a_noun_follows_its_number(number: float, noun: str, text: str) -> None:
    assert counted(number, noun) == text


def test_a_verb_follows_too() -> None:
    assert [counted(n, "image is", "images are") for n in (1, 2)] == ["1 image is", "2 images are"]


def test_the_number_can_be_formatted() -> None:
    assert counted(12_000, "iteration", form=",") == "12,000 iterations"
    assert counted(1.0, "CPU", form="g") == "1 CPU"


def _texts(file: Path) -> Iterator[str]:
    """Yield each f-string with {} in place of its values."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)


def test_no_text_puts_a_number_before_a_fixed_plural() -> None:
    packages = [Path(package.__file__ or "").parent for package in (raysearch, trainables)]
    files = [file for package in packages for file in sorted(package.rglob("*.py"))]
    assert [f"{file.name}: {text}" for file in files for text in _texts(file) if _COUNTED.search(text)] == []
