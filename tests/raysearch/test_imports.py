"""Tests of what is imported: seconds and memory that nobody needs are not spent."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

TRAINING = {"torch", "torchvision", "timm", "albumentations", "cv2"}
"""Packages of the trainer that comes along."""


def imported(code: str, cwd: Path = ROOT) -> set[str]:
    """Return the modules that a new process has imported after some code, which may print and exit."""
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
try:
    exec({code!r})
except SystemExit:
    pass
import json
print()
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, check=True, capture_output=True, text=True)
    modules: list[str] = json.loads(done.stdout.splitlines()[-1])
    return set(modules)


def test_help_imports_only_what_prints_it() -> None:
    code = "sys.argv = ['raysearch', '--help']; from raysearch.commands.cli import main; main()"
    assert not imported(code) & {*TRAINING, "ray", "optuna", "numpy", "pandas", "pyarrow", "plotly", "scipy", "sklearn"}


def test_a_search_imports_nothing_that_its_trainable_does_without(tmp_path: Path) -> None:
    space = ROOT / "search_spaces" / "quadratic.yaml"
    code = f"""
import raysearch
from pathlib import Path
from raysearch.runs import driver
assert not {{"plotly", "sklearn"}} & set(sys.modules), "only the report needs them"
spec = raysearch.load_space(Path({str(space)!r}), ["search.trials=2"])
driver.run(spec, Path("run"), executor="local")
"""
    assert not imported(code, tmp_path) & TRAINING
    assert (tmp_path / "run" / "report.html").is_file()
