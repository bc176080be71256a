from pathlib import Path

import pytest

from raysearch.config.shipped import find_space, shipped_spaces, summary
from raysearch.errors import InputError
from raysearch.space.parsing import load_space


def test_a_name_stands_for_the_shipped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_space(Path("demo")) == shipped_spaces()["demo"]
    assert load_space(Path("quadratic")).name == "quadratic"


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_text("name: mine\n")
    assert find_space(Path("demo")) == Path("demo")


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ("potatos.yaml", "did you mean potatoes.yaml?"),
        ("demmo", "did you mean demo?"),
        ("search_spaces/demo.yaml", "did you mean demo, which is shipped?"),
    ],
)
def test_a_missing_file_is_told_with_the_nearest_one(
    given: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "potatoes.yaml").touch()
    with pytest.raises(InputError) as caught:
        find_space(Path(given))
    assert [str(fault) for fault in caught.value.faults] == [f"{given}: there is no such file; {fix}"]


def test_every_shipped_file_says_what_it_is_in_a_sentence() -> None:
    for path in shipped_spaces().values():
        assert summary(path).endswith((".", "?")), path


def test_the_command_lists_them_and_prints_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from raysearch.commands import space_commands

    space_commands.spaces()
    printed = capsys.readouterr().out
    assert all(name in printed for name in shipped_spaces())
    space_commands.spaces("demo")
    assert capsys.readouterr().out == shipped_spaces()["demo"].read_text()
    with pytest.raises(InputError, match=r"did you mean camvid\?"):
        space_commands.spaces("camvit")
