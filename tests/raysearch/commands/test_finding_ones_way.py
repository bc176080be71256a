"""Tests of help, completion and suggestions, which guide users who do not know the command line."""

import shlex
import signal
import sys
from pathlib import Path

import pytest
from rich.text import Text
from typer.core import TyperGroup
from typer.main import get_command

from raysearch.commands import cli
from tests.docs.blocks import PAGES, README, blocks, commands, inline_commands

OWN_EXAMPLES = {
    "raysearch data convert soft potatoes --nearest --ids 0,100,200",
    "raysearch run demo",
    "raysearch run potatoes.yaml --set search.trials=8",
    "raysearch init camvid --preset camvid --out camvid.yaml",
}
"""Examples that other tests try: names of shipped files, --set, presets, --nearest."""


def all_commands() -> dict[str, list[str]]:
    """Return the examples in the help of every command."""
    found = {}
    root = get_command(cli.app)
    assert isinstance(root, TyperGroup)
    for name, command in root.commands.items():
        for full, one in [(f"{name} {sub}", c) for sub, c in getattr(command, "commands", {}).items()] or [
            (name, command)
        ]:
            lines = Text.from_markup(one.epilog or "").plain.splitlines()
            found[full] = [line.strip() for line in lines if line.startswith("  ")]
    return found


def test_every_command_has_examples_and_they_are_those_that_the_pages_try() -> None:
    tried = set()
    for page in (README, *PAGES):
        for command in [*inline_commands(page), *(c for b in blocks(page) if b.language == "sh" for c in commands(b))]:
            tried.add(" ".join(command.words).removeprefix("python -m "))
    for name, examples in all_commands().items():
        assert examples, f"{name} has no examples"
        for example in examples:
            assert example.startswith(f"raysearch {name}")
            assert len(example) <= 118
            words = shlex.split(example)
            words = words[: words.index(">")] if ">" in words else words
            assert " ".join(words) in tried | OWN_EXAMPLES, f"no page tries: {example}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a working directory with two runs and two space files, and change to it."""
    for name in ("runs/potatoes-1", "runs/carrots-1", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("runs/potatoes-1", "runs/carrots-1"):
        (tmp_path / name / "study.journal").touch()
    for name in ("potatoes.yaml", "deep.yml", "notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def completed(words: str, shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the completions that a shell would offer at the end of a command line."""
    typed = words.split(" ")
    monkeypatch.setattr(sys, "argv", ["raysearch"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("_RAYSEARCH_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(typed) - 1))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", words)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    with pytest.raises(SystemExit):
        cli.main()
    offered = capsys.readouterr().out
    return offered.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("raysearch re", ["resume", "repair", "report"]),
        ("raysearch data w", ["weights"]),
        ("raysearch resume ", ["runs/carrots-1", "runs/potatoes-1", "elsewhere/", "runs/"]),
        ("raysearch report runs/p", ["runs/potatoes-1"]),
        ("raysearch run de", ["demo", "deep.yml"]),
        ("raysearch check po", ["potatoes.yaml"]),
        ("raysearch run demo --set search.t", ["search.trials="]),
        ("raysearch run demo --set config.optim.l", ["config.optim.lr="]),
        ("raysearch train best.json optim.l", ["optim.lr"]),
        ("raysearch export runs/potatoes-1 --format o", ["openseg"]),
        ("raysearch evaluate best.json --spl", ["--split"]),
    ],
)
def test_a_shell_completes(
    words: str, offered: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert completed(words, "bash", monkeypatch, capsys) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_so_do_others(
    shell: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "potatoes.yaml" in " ".join(completed("raysearch check po", shell, monkeypatch, capsys))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_that_a_shell_wants_is_shown(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["raysearch"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("_RAYSEARCH_COMPLETE", f"source_{shell}")
    with pytest.raises(SystemExit):
        cli.main()
    assert f"_RAYSEARCH_COMPLETE=complete_{shell}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["rnu", "demo"], "Did you mean 'run'?"),
        (["data", "convret", "a", "b"], "Did you mean 'convert'?"),
        (["export", "runs", "--frmat", "openseg"], "--format"),
        (["export", "runs", "--format", "opensegg"], "did you mean openseg?"),
        (["evaluate", "a.json", "--checkpoint", "x", "--mode", "sscorp"], "Did you mean sscrop?"),
        (["run", "demo", "--st", "search.trials=3"], "--st: is not an option of this command; did you mean --set?"),
        (
            ["evaluate", "a.json", "--checkpiont", "x"],
            "--checkpiont: is not an option of this command; did you mean --checkpoint?",
        ),
        (["train", "a.json", "--loss_tpye", "ce_loss"], "did you mean --loss_type?"),
        (["data", "weights", "a", "--preset", "camvit"], "did you mean camvid?"),
        (["check", "camvit"], "did you mean camvid?"),
        (["check", "demo", "--set", "serach.trials=3"], "did you mean search?"),
        (["check", "demo", "--set", "search.trails=3"], "did you mean trials?"),
        (["check", "demo", "--set", "search.algorithm=tpee"], "did you mean tpe?"),
        (["check", "demo", "--set", "config.optim.rl=3"], "did you mean optim.lr?"),
        (["check", "demo", "--set", "config={modle: {}}"], "did you mean model?"),
        (["check", "demo", "--set", "config.model.head=ocrr"], "did you mean ocr?"),
        (["check", "demo", "--set", "space.optim.lr.type=flaot"], "did you mean float?"),
        (["check", "demo", "--set", "objective.metric=moiu"], "did you mean miou?"),
        (["check", "demo", "--set", "config.model.backbone=hrnet_w18_smal"], "did you mean hrnet_w18_small"),
        (["check", "demo", "--set", "constraints=[contrast.max_view < 3]"], "did you mean contrast.max_views?"),
    ],
)
def test_what_is_nearly_right_is_told_what_is_right(
    words: list[str], suggestion: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "a.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["raysearch", *words])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert suggestion in " ".join(capsys.readouterr().err.split())
