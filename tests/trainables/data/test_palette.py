import json
from pathlib import Path

import numpy as np
import pytest

from trainables.data.palette import UNKNOWN, Palette, packed, read_palette, unpacked
from trainables.errors import InputError


def test_every_colour_has_its_id_and_its_neighbours_have_none() -> None:
    palette = Palette({(128, 64, 128): 3, (0, 0, 0): 255, (255, 255, 255): 0})
    pixels = np.array(
        [[[128, 64, 128], [127, 64, 128], [128, 65, 128], [128, 64, 129], [0, 0, 0], [255] * 3]], np.uint8
    )
    np.testing.assert_array_equal(palette.ids(pixels), [[3, UNKNOWN, UNKNOWN, UNKNOWN, 255, 0]])
    assert palette.class_ids == (3, 0)


def test_unpacked_undoes_packed() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (100, 3), np.uint8)
    assert [unpacked(int(number)) for number in packed(colours)] == [tuple(colour) for colour in colours.tolist()]


ROWS = [[128, 64, 128, 3, "road"], [64, 0, 128, 1], [64, 0, 192, 1, "cars, all"]]


@pytest.mark.parametrize("ending", ["csv", "with a header.csv", "json", "byte order mark.csv"])
def test_reads_rows(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a palette, 色.{ending}"
    if ending == "json":
        path.write_text(json.dumps(ROWS))
    else:
        lines = ["128,64,128,3,road", "", "64, 0, 128, 1", '64,0,192,1,"cars, all"']
        lines = ["r,g,b,id,name", *lines] if "header" in ending else lines
        path.write_text("\n".join(lines), encoding="utf-8-sig" if "mark" in ending else "utf-8")
    palette = read_palette(path)
    assert palette == Palette({(128, 64, 128): 3, (64, 0, 128): 1, (64, 0, 192): 1}, {3: "road", 1: "cars, all"})
    assert palette.class_ids == (3, 1)


def test_names_every_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("0,0,0,1\n0,0,256,2\n0,0,x,3\n1,1,1\n0,0,0,4\n2,2,2,5,name,more\n0,0,0,1\n")
    with pytest.raises(InputError) as caught:
        read_palette(path)
    assert [fault.where for fault in caught.value.faults] == [f"{path}: line {n}" for n in (2, 3, 4, 5, 6)]
    assert "gives the colour 0,0,0 the id 4, an earlier row 1" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("p.json", "{", "is no JSON"),
        ("p.json", "{}", "must be a list"),
        ("p.json", "[[0, 0, 0.5, 1], [0, 0, true, 1], 7]", "row 3"),
        ("p.csv", "r,g,b,id\n", "holds no colour"),
        ("absent.csv", None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_palette(name: str, text: str | None, what: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=what):
        read_palette(tmp_path / name)
