"""A folder with the trainables that the space files of these tests name."""

from pathlib import Path

import pytest

from tests.raysearch.space.space_files import TRAINABLES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.py").write_text(TRAINABLES)
    return tmp_path
