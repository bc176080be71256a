import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysearch.config.strict_yaml import dump, parse_value, read_mapping
from raysearch.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e3", -2500.0),
        (".5e1", 5.0),
        ("1_000e1", 1e4),
        ("1.0", 1.0),
        ("12", 12),
        ("1e", "1e"),
        ("e5", "e5"),
        ("1e-4x", "1e-4x"),
        ('"1e-4"', "1e-4"),
        ("2024-01-01", "2024-01-01"),
        ("[1e-4, true, null, a]", [1e-4, True, None, "a"]),
        ("", None),
    ],
)
def test_values(text: str, value: object) -> None:
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


texts = st.text("ae1é分 -+.:#'\"[]{}&*!%@`~?,|>\n\t\x07\ufeff", max_size=6)
scalars = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | texts


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(texts, scalars | st.lists(scalars, max_size=3), max_size=4))
def test_what_is_written_reads_as_it_was(document: dict[str, object]) -> None:
    parsed = parse_value(dump(document))
    assert parsed == document
    assert list(parsed) == list(document)
    assert repr(parsed) == repr(document), "1, 1.0 and True are equal and yet not the same"


def test_keys_given_twice_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {x: 1, x: 2}\nb:\n  - y: 1\n    y: 2\nc: *a\nd: {<<: *a, x: 3}\n")
    document, faults = read_mapping(path, "x.yaml")
    assert document["d"] == {"x": 3}, "overriding what an anchor brings is no repetition"
    assert [str(fault) for fault in faults] == [
        "x.yaml: line 1: x is given a second time; keep one",
        "x.yaml: line 4: y is given a second time; keep one",
    ]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_mapping(path, "x.yaml")[0] == {"a": 1}


def test_json_says_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": 1,\n "b" 2}')
    with pytest.raises(InputError, match=r"x\.json: line 2: "):
        read_mapping(path, "x.json")


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in pairwise("abcdefghi")
)
MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "has too many values: at most 10000 are read"),
        (MERGES, "has too many values"),
        ("a: [" + "1," * 10_000 + "]", "has too many values"),
        ("a: &a [*a]", "line 1: contains itself"),
        ("a: 1\nb: &b {c: {d: *b}}", "line 2: contains itself"),
        ("a: " + "[" * 33 + "]" * 33, "is nested too deeply: at most 32 lists and mappings"),
        ("a: " + "[" * 100_000, "is nested too deeply"),
        ("a: " + "9" * 5000, r"holds a whole number with too many digits: whole numbers must be below 2\^63"),
        ("a: 9223372036854775808", "holds a whole number with too many digits"),
        ('a: "b\\0"', r"holds the character U\+0000, which is not text"),
        ('a: "\\ud83d"', r"holds the character U\+D83D, which is not text"),
        ("a: " + "x" * 2**19, "has 524291 bytes, and a document has at most 524288"),
    ],
)
def test_no_document_is_without_bounds(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"^space\.yaml: ({message})") as caught:
        read_mapping(tmp_path / "space.yaml", "space.yaml")
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ' * 2000 + "1" + "}" * 2000, "is nested too deeply"),
        ('{"a": ' * 100_000, "is nested too deeply|has 600000 bytes"),
        ('{"a": ' + "9" * 5000 + "}", "holds a whole number with too many digits"),
        ('{"a": 9223372036854775808}', "holds a whole number with too many digits"),
        ('{"a\\u0000": 1}', r"holds the character U\+0000"),
        ('{"a": "\\ud800"}', r"holds the character U\+D800"),
        ('{"a": [' + "1," * 10_000 + "1]}", "has too many values"),
    ],
)
def test_no_json_file_is_without_bounds(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=rf"^a\.json: ({message})"):
        read_mapping(tmp_path / "a.json", "a.json")


def test_what_is_within_the_limits_is_read(tmp_path: Path) -> None:
    text = "a: [" + "1," * 9000 + "]\nb: " + "[" * 30 + "]" * 30 + "\nc: 9223372036854775807\nd: &d [1]\ne: [*d, *d]"
    (tmp_path / "space.yaml").write_text(text)
    read, faults = read_mapping(tmp_path / "space.yaml", "space.yaml")
    assert (len(read["a"]), read["c"], read["e"], faults) == (9000, 2**63 - 1, [[1], [1]], [])


def test_a_device_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="zero: is not a file"):
        read_mapping(Path("/dev/zero"), "zero")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: is not a file"):
        read_mapping(tmp_path / "pipe", "pipe")


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100 + "]" * 100, "&a [*a]", '"\\0"', "x" * 2**20])
def test_no_value_of_a_command_line_is_without_bounds(text: str) -> None:
    with pytest.raises(ValueError, match=r"too many|too deeply|itself|U\+0000|characters"):
        parse_value(text)
