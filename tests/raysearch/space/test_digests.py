from pathlib import Path
from typing import Any

import pytest

from raysearch.config.shipped import shipped_spaces
from raysearch.config.strict_yaml import read_mapping
from raysearch.space.digests import section_digests
from raysearch.space.parsing import load_space

DOCUMENT: dict[str, Any] = {
    "name": "x",
    "trainable": "/home/me/mine.py:Mine",
    "config": {"data": {"dir": "/data/street"}, "train": {"max_iters": 12}},
    "space": {"lr": {"type": "float", "low": 0.1, "high": 0.2}},
    "search": {"trials": 12, "confirm": True, "warm_start": ["/runs/before"]},
    "resources": {"cpu": 1},
}


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"name": "y", "resources": {"cpu": 4}, "track": {"mlflow": True}}, set()),
        ({"config": {"train": {"max_iters": 12}, "data": {"dir": "/mnt/street"}}}, set()),
        ({"search": {"trials": 12, "warm_start": ["/archive/before"]}}, set()),
        ({"config": {"data": {"dir": "/data/street"}, "train": {"max_iters": 16}}}, {"config"}),
        ({"search": {"trials": 16, "warm_start": ["/runs/before"]}}, {"search"}),
        ({"search": {"trials": 12, "warm_start": ["/runs/before", "/runs/other"]}}, {"search"}),
        ({"space": {"lr": {"type": "float", "low": 0.1, "high": 0.3}}}, {"space"}),
        ({"scheduler": {"name": "none"}}, {"scheduler"}),
    ],
)
def test_an_edit_is_recognised_by_its_section(edit: dict[str, Any], told: set[str]) -> None:
    before, after = section_digests(DOCUMENT), section_digests({**DOCUMENT, **edit})
    assert {name for name in before | after if before.get(name) != after.get(name)} == told


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_a_space_file_has_the_digests_of_the_search_that_wrote_it(name: str, tmp_path: Path) -> None:
    spec = load_space(shipped_spaces()[name])
    (tmp_path / "space.yaml").write_text(spec.to_yaml(), encoding="utf-8")
    document, _ = read_mapping(tmp_path / "space.yaml", "space.yaml")
    assert section_digests(document) == section_digests(spec.document)
