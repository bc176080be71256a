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
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts


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


def test_a_mapping_that_holds_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: &a\n  b: *a\n")
    document, faults = read_mapping(path, "x.yaml")
    assert document["a"]["b"] is document["a"]
    assert faults == []


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_mapping(path, "x.yaml")[0] == {"a": 1}


def test_json_says_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": 1,\n "b" 2}')
    with pytest.raises(InputError, match=r"x\.json: line 2: "):
        read_mapping(path, "x.json")
