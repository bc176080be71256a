"""Tests of the pre-commit hooks: they run the checks of `make check` that take seconds, and need no network."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / ".pre-commit-config.yaml"


def test_the_config_is_valid() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", str(CONFIG)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_are_the_checks_of_make_check_and_need_no_network() -> None:
    repos = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    hooks = [hook for repo in repos for hook in repo["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    rules = re.split(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)[1:]
    recipes = dict(zip(rules[::2], rules[1::2], strict=True))
    checks = [line.strip() for name in ("lint", "types", "imports") for line in recipes[name].strip().splitlines()]
    assert {_tool(hook["entry"]) for hook in hooks} == {_tool(check) for check in checks}


def _tool(command: str) -> str:
    """Return a command without its options and files."""
    return " ".join(word for word in command.split() if word != "." and not word.startswith("--"))
