import json
import random

import pytest

from raysearch.history import chain

RECORDS = [
    {"op_code": 0, "raysearch": {"trials": 3}},
    {"op_code": 8, "trial_id": 0, "user_attr": {"paused": True}},
    {"op_code": 6, "raysearch": {"status": "completed", "error": 'it said "check":"0123456789abcdef"}}'}},
]


def lines() -> list[bytes]:
    found, checksum = [], chain.START
    for record in RECORDS:
        line, checksum = chain.sealed(record, checksum)
        found.append(line)
    return found


def test_a_sealed_line_holds_its_record_and_a_checksum() -> None:
    for line, record in zip(lines(), RECORDS, strict=True):
        assert chain.is_sealed(line)
        read = json.loads(line)
        checksum = read["raysearch"].pop(chain.KEY)
        assert read == {"raysearch": {}, **record}
        assert line.endswith(f'"check":"{checksum}"}}}}\n'.encode())


def test_each_checksum_covers_the_one_before() -> None:
    first, second, third = lines()
    one = chain.checksum_of(first, chain.START)
    assert one is not None
    two = chain.checksum_of(second, one)
    assert two is not None
    assert chain.checksum_of(third, two) is not None
    assert chain.checksum_of(third, one) is None
    assert chain.checksum_of(second, chain.START) is None


def test_every_flipped_bit_of_a_line_is_found() -> None:
    first, second, _ = lines()
    before = chain.checksum_of(first, chain.START)
    assert before is not None
    for bit in range(8 * len(second)):
        flipped = bytearray(second)
        flipped[bit // 8] ^= 1 << bit % 8
        line = bytes(flipped)
        assert not chain.is_sealed(line) or chain.checksum_of(line, before) is None, f"bit {bit}"


def test_a_line_without_a_checksum_enters_the_chain() -> None:
    old = b'{"op_code":0}\n'
    checksum = chain.checksum_of(old, chain.START)
    assert checksum is not None
    assert checksum != chain.checksum_of(b'{"op_code":1}\n', chain.START)
    assert not chain.is_sealed(old)


@pytest.mark.parametrize("seed", range(3))
def test_what_a_line_holds_does_not_look_like_its_end(seed: int) -> None:
    text = bytes(random.Random(seed).sample(range(32, 127), 60)).decode()
    line, checksum = chain.sealed({"op_code": 1, "raysearch": {"text": text, "z": {"check": "0" * 16}}}, b"x")
    assert chain.checksum_of(line, b"x") == checksum
