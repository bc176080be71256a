"""Tests of every shipped space file."""

from pathlib import Path

import pytest
import yaml

from raysearch.space.parsing import load_space, parse_space
from trainables.config import Config

SPACES = sorted((Path(__file__).parents[3] / "search_spaces").glob("*.yaml"))


def test_the_shipped_ones_are_found() -> None:
    assert {path.name for path in SPACES} >= {"camvid.yaml", "demo.yaml", "quadratic.yaml"}


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_it_is_right_and_loads_again_as_it_was_run(path: Path, tmp_path: Path) -> None:
    spec = load_space(path)
    assert spec.parameters
    again = parse_space(yaml.safe_load(spec.to_yaml()), tmp_path)
    assert again.to_yaml() == spec.to_yaml()
    assert again.sha256() == spec.sha256()


def test_the_demos_default_is_the_default_config() -> None:
    spec = load_space(next(path for path in SPACES if path.stem == "demo"))
    assert Config.model_validate(spec.config) == Config().with_threads(1)


def test_the_quadratic_example(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    spec = load_space(Path(__file__).parents[3] / "search_spaces" / "quadratic.yaml")
    assert [p.path for p in spec.parameters] == ["rate", "method", "momentum"]
    assert (spec.max_iters, spec.grace_iters) == (20, 2)
    trainable = spec.trainable.target(spec.trial_config({"rate": 0.9, "method": "momentum", "momentum": 0.6}))
    reports = [trainable.step() for _ in range(10)]
    assert [report["iteration"] for report in reports] == list(range(1, 11))
    assert reports[-1]["loss"] < 0.1 * reports[0]["loss"]
    trainable.save_checkpoint(str(tmp_path))
    other = spec.trainable.target(spec.trial_config({"rate": 0.9, "method": "momentum", "momentum": 0.6}))
    other.load_checkpoint(str(tmp_path))
    assert other.step() == trainable.step()
