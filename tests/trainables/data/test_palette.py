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
    assert "gives the colour 0,0,0 the id 4, but an earlier row gives it 1" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("p.json", "{", "is not valid JSON"),
        ("p.json", "{}", "holds no colour"),
        ("p.json", "7", "must be a list"),
        ("p.json", "[" * 5000, "is not valid JSON"),
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


THREE = {(0, 0, 0): 0, (128, 0, 0): 1, (0, 128, 0): 2}
NAMES = {0: "bg", 1: "车", 2: "traffic light"}
BY_OTHER_TOOLS = {
    "cvat.txt": "# label:color_rgb:parts:actions\nbg:0,0,0::\n# a remark\n车:128,0,0::\ntraffic light:0,128,0::\n",
    "camvid.csv": "name,r,g,b\nbg,0,0,0\n车,128,0,0\ntraffic light,0,128,0\n",
    "semicolons.csv": "r;g;b;id;name\n0;0;0;0;bg\n128;0;0;1;车\n0;128;0;2;traffic light\n",
    "another order.csv": "id,name,color\n0,bg,#000000\n1,车,#800000\n2,traffic light,#008000\n",
    "hex.csv": "#000000,0,bg\n#800000,1,车\n#008000,2,traffic light\n",
    "blanks.txt": "0 0 0 0 bg\n128 0 0 1 车\n0 128 0 2 traffic light\n",
    "tabs.tsv": "0\t0\t0\t0\tbg\n128\t0\t0\t1\t车\n0\t128\t0\t2\ttraffic light\n",
    "objects.json": json.dumps(
        [{"name": NAMES[i], "color": list(colour), "classid": i} for colour, i in THREE.items()]
    ),
    "channels.json": json.dumps(
        [{"label": NAMES[i], "R": r, "G": g, "B": b, "id": i} for (r, g, b), i in THREE.items()]
    ),
    "nested.json": json.dumps([[list(colour), i, NAMES[i]] for colour, i in THREE.items()]),
    "by name.json": json.dumps({NAMES[i]: list(colour) for colour, i in THREE.items()}),
    "by id.json": json.dumps(
        {str(i): {"color": "#{:02x}{:02x}{:02x}".format(*colour), "name": NAMES[i]} for colour, i in THREE.items()}
    ),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", BY_OTHER_TOOLS)
def test_palettes_of_other_tools(name: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(BY_OTHER_TOOLS[name], encoding=encoding)
    assert read_palette(tmp_path / name) == Palette(THREE, NAMES)


def test_a_name_may_hold_another_separator(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("0,0,0,0,a;b;c;d;e;f\n1,1,1,1,g: h\n")
    assert read_palette(tmp_path / "p.csv").names == {0: "a;b;c;d;e;f", 1: "g: h"}


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ("[[0, 0, 0, null], [1, 1, 1, 1]]", "null is not a number in 0..255 for the id"),
        ("[[0, 0, 0, true], [1, 1, 1, 1]]", "true is not a number in 0..255 for the id"),
        ('[["a", 0, 0, 1], [1, 1, 1, 1]]', '"a" is not a number in 0..255 for a colour'),
        ('[[0, 0, 0, 0, "bg", "x"], [1, 1, 1, 1, null]]', "it has 6 cells"),
        ("[[[0, 0, 0], [0]], [[1, 1, 1], 1]]", r"\[0\] is not a number in 0..255 for the id"),
        ("[[[0, 0], 3], [1, 1, 1, 1]]", r"\[0, 0\] is not a colour of three numbers"),
        ('[{"name": "a", "id": 0}, {"color": [1, 1, 1], "id": 1}]', "null is not a colour of three numbers"),
        ('[{"color": [0, 0, 0]}, {"color": [1, 1, 1], "id": 1}]', "null is not a number in 0..255 for the id"),
        ('[{"color": [0, 0, 0], "id": 0, "name": ["x"]}, [1, 1, 1, 1]]', r'\["x"\] is not a name'),
        ("[null, [1, 1, 1, 1]]", "it has 1 cell"),
        ("[{}, [1, 1, 1, 1]]", "null is not a colour"),
    ],
)
def test_an_unfit_row_of_json_is_named_with_its_value_and_the_fix(rows: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(rows)
    with pytest.raises(InputError, match=what) as caught:
        read_palette(tmp_path / "p.json")
    (fault,) = caught.value.faults
    assert (fault.where, fault.fix) == (f"{tmp_path}/p.json: row 1", "write for example 128, 64, 128, 3, road")


def test_another_encoding_is_told_to_become_utf_8(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes("0,0,0,0,bg\n128,0,0,1,车\n".encode("gbk"))
    with pytest.raises(InputError, match=r"is not UTF-8 text \(byte 0xb3 in line 2\); save it as UTF-8"):
        read_palette(tmp_path / "p.csv")
