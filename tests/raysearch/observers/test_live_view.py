"""Tests of the live view as text at several widths, and on a real terminal."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from raysearch.observers.live_view import values_in_short, view
from raysearch.observers.progress import ProgressCount
from raysearch.search.estimate import Interval
from tests.raysearch.observers.test_progress import by_hand

LEFT = Interval(2160.0, 2700.0, 4200.0)


def drawn(tmp_path: Path, width: int, height: int = 30) -> list[str]:
    spec, history = by_hand(tmp_path)
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(view(ProgressCount(spec, history).progress(), 4000.0, LEFT, width, height))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_width_has_all_of_it_in_lines_that_fit(tmp_path: Path, width: int) -> None:
    lines = drawn(tmp_path, width)
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("toy ━")
    assert lines[0].endswith("4 of 9 trials")
    assert lines[2] == "best    score 0.7000  trial 2, default 0.5500 (+0.1500)"
    assert lines[3] == "rungs   2: 3 of 5, 4: 1 of 2 continued"
    time = "time    1:06:40 elapsed, about 45 min left (36 min to 1 h 10 min), 50 images/s"
    assert lines[4] == time if width > 60 else time[:59] + "…"
    assert lines[5].split()[:3] == ["trial", "iteration", "score"]
    first, second = lines[6].split(), lines[7].split()
    assert first[0] == "2"
    assert first[2:] == ["4/8", "0.7000", "50", "4", "x=0.6"]
    assert second[0] == "6"
    assert second[-2:] == ["0/8", "x=0.2"]
    assert lines[8:] == [""]
    if width > 60:
        counts = "2 running, 1 paused, 2 waiting, 1 completed, 1 stopped, 1 infeasible, 1 failed"
        assert lines[1] == f"trials  {counts}"[: width - 1] + ("…" if width == 80 else "")


def test_more_trials_than_rows_are_counted(tmp_path: Path) -> None:
    assert drawn(tmp_path, 80, height=10)[-2:] == ["1 more are running", ""]


def test_names_of_values_are_short_where_that_is_clear() -> None:
    values = {"optim.lr": 0.012345, "model.a.size": 3, "model.b.size": 4, "x": "gelu"}
    assert values_in_short(values) == "lr=0.01235 model.a.size=3 model.b.size=4 x=gelu"


SEARCH = """
import os, subprocess, sys
from pathlib import Path
from raysearch.history.journal import Journal
from raysearch.search.estimate import Interval
from raysearch.observers.live_view import Screen
from raysearch.history.run_dir import RunDir
from raysearch.search.run import Run
from raysearch.search.search import Search
from tests.raysearch.toy import run_trial, toy_spec

folder, ends = Path(sys.argv[1]), sys.argv[2]
spec = toy_spec(folder, name="a [toy]")
run_dir = RunDir.create("toy", folder / "run")
screen = Screen()
with Journal(run_dir.journal) as journal:
    search = Search(spec, journal)
    try:
        screen.begin(Run(run_dir, spec, search.history))
        while (proposal := search.propose()) is not None:
            run_trial(search, proposal)
            screen.update(search.take_changed())
            print("NOISE printed")
            print("NOISE on stderr", file=sys.stderr)
            os.write(2, b"NOISE from C\\n")
            subprocess.run(["echo", "NOISE of a child"], check=True)
            if ends == "killed":
                os.kill(os.getpid(), 9)
            if ends == "error":
                raise ValueError("a bug")
        screen.rest()
        screen.say("a long line: " + "x" * 100)
    finally:
        screen.end()
print("the end")
"""


def on_a_terminal(tmp_path: Path, ends: str, script: str = SEARCH) -> str:
    """Return everything that a search without Ray sends to a terminal of 80 columns."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-c", script, str(tmp_path), ends]
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    sent = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:
            break
        if not piece:
            break
        sent += piece
    process.wait()
    os.close(leader)
    return sent.decode()


def test_a_terminal_shows_our_lines_alone_and_the_log_has_the_rest(tmp_path: Path) -> None:
    sent = on_a_terminal(tmp_path, "well")
    assert "NOISE" not in sent
    assert "a [toy]" in sent
    assert "\x1b[?25l" not in sent, "the cursor stays visible"
    ended = re.findall(r"trial +(\d+) (?:completed|stopped|infeasible) ", sent)
    assert ended == [str(number) for number in range(24)], "one line a trial"
    assert sent.splitlines()[-1] == "the end"
    assert sent.splitlines()[-2].endswith("a long line: " + "x" * 100), "whole, below a block that is gone"
    log = (tmp_path / "run" / "raysearch.log").read_text()
    for noise in ("printed", "on stderr", "from C", "of a child"):
        assert log.count(f"NOISE {noise}\n") == 24


def test_a_confirmation_has_the_block_and_no_lines_of_ended_trials(tmp_path: Path) -> None:
    script = SEARCH
    for told in ("begin", "update", "rest"):
        assert script.count(f"screen.{told}(") == 1
        script = script.replace(f"screen.{told}(", f"screen.{told}_confirmation(")
    sent = on_a_terminal(tmp_path, "well", script)
    assert "NOISE" not in sent
    assert " of 24 trials" in sent, "the block"
    assert re.findall(r"trial +(\d+) (?:completed|stopped|infeasible) ", sent) == []
    assert sent.splitlines()[-1] == "the end"


def test_an_error_or_a_kill_leaves_the_terminal_usable(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    sent = on_a_terminal(tmp_path / "a", "error")
    assert sent.rstrip().endswith("ValueError: a bug"), "told where the user looks"
    assert "\x1b[?25l" not in sent
    (tmp_path / "b").mkdir()
    sent = on_a_terminal(tmp_path / "b", "killed")
    assert "\x1b[?25l" not in sent
    assert sent.endswith("\n"), "a prompt has a line of its own"


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SEARCH, str(tmp_path), "well"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:24]] == [["trial", str(number)] for number in range(24)]
    assert lines[-1] == "the end"
    assert len(lines) == 26
    assert "\x1b" not in done.stdout
    assert "kind=" in lines[1], "whole lines"
    assert done.stderr == ""
