from pathlib import Path

import pytest

from raysearch.config.trainable_loading import load_trainable
from raysearch.errors import InputError

HEAD = "from pydantic import BaseModel\nclass T:\n    METRICS = frozenset({'a'})\n"


@pytest.mark.parametrize(
    ("lines", "what", "fix"),
    [
        (
            ["def preflight(self, config): return []"],
            "its preflight is declared as preflight(self, config), which a search cannot call",
            "declare @classmethod preflight(cls, config)",
        ),
        (
            ["EVALUATED = METRICS", "@classmethod", "def evaluate(cls, config, checkpoint): return {}"],
            "its evaluate is declared as evaluate(config, checkpoint), which a search cannot call",
            "declare @classmethod evaluate(cls, config, checkpoint, split, progress)",
        ),
        (
            ["describe_data = 3"],
            "its describe_data is 3, not a method",
            "declare @classmethod describe_data(cls, config)",
        ),
        (
            ["class Config(BaseModel):", "    def with_seed(self): ..."],
            "its Config.with_seed is declared as with_seed(self), which a search cannot call",
            "declare with_seed(self, seed)",
        ),
    ],
)
def test_a_capability_with_a_wrong_signature_is_one_message(
    lines: list[str], what: str, fix: str, tmp_path: Path
) -> None:
    (tmp_path / "t.py").write_text(HEAD + "".join(f"    {line}\n" for line in lines))
    with pytest.raises(InputError) as caught:
        load_trainable("t.py:T", tmp_path)
    (fault,) = caught.value.faults
    assert fault.where == "t.py:T"
    assert (fault.what, fault.fix) == (what, fix)


@pytest.mark.parametrize(
    "lines",
    [
        ["@staticmethod", "def preflight(config, more=None): return []"],
        ["def evaluate(self, images): ..."],
        ["class Config(BaseModel):", "    max_iters: int = 3"],
        ["def share_beginning(self, *args): ..."],
    ],
)
def test_what_can_be_called_is_taken(lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(HEAD + "".join(f"    {line}\n" for line in lines))
    assert load_trainable("t.py:T", tmp_path).name == "t.py:T"
