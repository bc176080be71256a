import inspect
import re
from pathlib import Path

import pytest

from trainables import protocol
from trainables.protocol import CONFIG_CAPABILITIES, TRAINABLE_CAPABILITIES

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "own-trainer.md"
CAPABILITIES = [*TRAINABLE_CAPABILITIES, *CONFIG_CAPABILITIES]


def members(capability: type) -> set[str]:
    named = {*vars(capability), *inspect.get_annotations(capability)}
    return {name for name in named if not name.startswith("_")}


def test_every_capability_of_the_module_is_listed_once() -> None:
    declared = [one for one in vars(protocol).values() if getattr(one, "_is_runtime_protocol", False)]
    assert sorted(declared, key=str) == sorted(CAPABILITIES, key=str)


def test_the_guide_has_a_row_for_every_capability_with_all_its_members() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([A-Z][a-z]\w+)` \| ([^|]+) \|", text, flags=re.MULTILINE))
    assert rows.keys() == {capability.__name__ for capability in CAPABILITIES}
    for capability in CAPABILITIES:
        assert set(re.findall(r"`(\w+)", rows[capability.__name__])) == members(capability)


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda capability: capability.__name__)
def test_every_docstring_shows_a_minimal_implementation_that_is_python(capability: type) -> None:
    docstring = inspect.getdoc(capability) or ""
    _, found, example = docstring.partition("A minimal implementation")
    assert found
    code = inspect.cleandoc("\n" + example.partition(":\n\n")[2])
    compile(code, capability.__name__, "exec")
    assert all(name in code for name in members(capability))
