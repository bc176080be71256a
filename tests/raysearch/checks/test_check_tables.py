"""Tests of the tables and lines of `check`."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raysearch.checks import check_tables
from raysearch.checks.measure import NotMeasured
from tests.raysearch.checks.examples import check_of, measurement, spec_of


def printed(table: Any, width: int = 80) -> str:
    console = Console(width=width, highlight=False, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


class TestTables:
    SPACE = {
        "optim.lr": {"type": "float", "low": 0.02, "high": 0.2, "log": True},
        "train.batch_size": {"type": "int", "low": 2, "high": 8, "step": 2},
        "contrast.memory": {"type": "categorical", "choices": [True, False]},
        "contrast.memory_size": {"type": "int", "low": 10, "high": 5000, "when": {"contrast.memory": True}},
    }

    def test_the_space_as_a_person_reads_it(self, tmp_path: Path) -> None:
        text = printed(check_tables.space_table(spec_of(tmp_path, self.SPACE)), width=120)
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
        assert rows == [
            ["optim.lr", "0.02 to 0.2", "log", "0.01 (outside)", ""],
            ["train.batch_size", "2 to 8", "steps of 2", "2", ""],
            ["contrast.memory", "true, false", "choice", "false", ""],
            ["contrast.memory_size", "10 to 5000", "linear", "2000", "contrast.memory is true"],
        ]

    @pytest.mark.parametrize("width", [60, 80, 120])
    def test_no_table_is_wider_than_the_terminal(self, tmp_path: Path, width: int) -> None:
        spec = spec_of(tmp_path, self.SPACE)
        check = check_of(spec, measurement(0.123, 1.5), NotMeasured("not measured within 40 s", is_fault=False))
        for table in check_tables.tables(check):
            assert max(map(len, printed(table, width).splitlines())) <= width

    @pytest.mark.parametrize(
        ("values", "constraints", "expected"),
        [
            ([1e-3, 0.01], [], "2 trials instead of 8, because the space has no more configs, about 700"),
            ([1e-3, 0.1], [], "3 trials instead of 8, because the space has no more configs, about 700"),
            (
                [1e-3, 0.01, 0.1],
                ["optim.lr <= 0.05"],
                "2 trials instead of 8, because the space has no more configs that",
            ),
            (list(range(1, 9)), [], "8 trials, about 700"),
        ],
    )
    def test_a_space_with_few_configs_says_how_many_trials_run(
        self, tmp_path: Path, values: list[float], constraints: list[str], expected: str
    ) -> None:
        space = {"optim.lr": {"type": "categorical", "choices": values}}  # the default is 0.01
        check = check_of(spec_of(tmp_path, space, constraints=constraints), measurement(1.0, 1.5))
        assert check_tables.lines(check)[0].startswith(f"search:  {expected}")

    def test_lines_say_what_it_takes(self, tmp_path: Path) -> None:
        lines = check_tables.lines(check_of(spec_of(tmp_path), measurement(1.0, 1.5)))
        assert lines == [
            "search:  8 trials, about 700 (600 to 800) iterations of 800 without early stopping; "
            "4 (3 to 5) trials train to the full budget",
            "time:    6 min (5 min to 7 min), and 10 min to confirm",
            "memory:  6.0 GB for 4 trials at a time; there is room for 5",
            "machine: 4 CPUs, 16.0 GB of memory, 8.0 GB of it free; 4 trials run at a time",
        ]
