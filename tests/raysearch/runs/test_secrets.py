"""Tests of what a run folder tells: no password and no token of the person who searched."""

from pathlib import Path
from typing import Literal

import pytest

from raysearch.runs import driver
from tests.raysearch.runs.test_local import spec_of

SECRETS = ("WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN")


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_no_file_of_a_run_holds_a_secret_of_the_environment(
    executor: Literal["local", "ray"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {name: f"planted-as-{name.lower()}" for name in SECRETS}
    for name, secret in secrets.items():
        monkeypatch.setenv(name, secret)
    # The second trial fails, and its traceback is in the log.
    space = {"ends": {"type": "categorical", "choices": ["well", "error"]}}
    spec = spec_of("Curve", space=space, config={"x": 0.5}, search={"algorithm": "grid", "trials": 2})
    result = driver.run(spec, tmp_path / "run", executor=executor, say=lambda line: None)
    files = [path for path in result.run_dir.rglob("*") if path.is_file()]
    assert {"space.yaml", "study.journal", "report.html", "raysearch.log"} <= {path.name for path in files}
    assert "a bug of the user's" in (result.run_dir / "raysearch.log").read_text()
    told = [(path.name, name) for path in files for name in SECRETS if secrets[name].encode() in path.read_bytes()]
    assert told == []
