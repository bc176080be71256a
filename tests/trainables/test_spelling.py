import pytest

from trainables.spelling import nearest


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("optim.ratte", "did you mean optim.rate?"),
        ("RATE", "did you mean optim.rate?"),
        ("zzz", "valid are optim.rate, loss.power"),
    ],
)
def test_nearest(name: str, expected: str) -> None:
    assert nearest(name, ["optim.rate", "loss.power"]) == expected


def test_nearest_without_anything_near_among_many() -> None:
    assert nearest("zzz", [f"a{i}" for i in range(30)]) == ""
