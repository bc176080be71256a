import io

import pytest
from rich.console import Console
from rich.table import Table

from raysearch.commands import console

NAME = "a_class_name_of_forty_characters_or_more"


def wide_table() -> Table:
    table = Table("class", *(f"number {i}" for i in range(12)))
    table.add_column("last", no_wrap=True)
    table.add_row(NAME, *(f"{i}23456789" for i in range(12)), "987654321")
    return table


def test_a_pipe_gets_every_row_whole_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    console.show(wide_table())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    row = [cell.strip() for cell in lines[3].strip("│").split("│")]
    assert row == [NAME, *(f"{i}23456789" for i in range(12)), "987654321"]


def test_a_narrow_terminal_folds_text_and_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table("class", "number")
    table.add_row(NAME, "123456789")
    shown = terminal(monkeypatch, 30, table)
    assert max(map(len, shown.splitlines())) <= 30
    assert "123456789" in shown
    cells = [line.split("│")[1].strip() for line in shown.splitlines()[3:-1]]
    assert "".join(cells) == NAME


def terminal(monkeypatch: pytest.MonkeyPatch, width: int, table: Table) -> str:
    text = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=text, width=width, force_terminal=True, color_system=None))
    console.show(table)
    return text.getvalue()


def test_a_table_too_wide_for_a_terminal_is_printed_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("class")
    for i in range(6):
        table.add_column(f"number {i}", no_wrap=True)
    table.add_row(NAME, *(f"{i}23456789" for i in range(6)))
    assert terminal(monkeypatch, 40, table) == ""
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(f"{i}23456789" in shown for i in range(6))
