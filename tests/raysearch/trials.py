"""Trainables that end in every possible way; tests load this file as a user's own."""

import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from ray import tune


class Curve(tune.Trainable):
    """A trainable that approaches 1 - x; `ends` decides how it ends."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.ends = config["x"], config.get("ends", "well")
        self.pause, self.pause_from = config.get("pause", 0.0), config.get("pause_from", 1)
        self.marker = Path(config["marker"]) if "marker" in config else None
        self.meeting = Path(config["meeting"]) if "meeting" in config else None
        self.t = 0
        print("what a worker prints")
        if self.ends == "memory in setup":
            raise MemoryError("no room for the model")

    def step(self) -> dict[str, Any]:
        self.t += 1
        if self.t >= self.pause_from:
            time.sleep(self.pause)
        if self.meeting is not None:
            _meet(self.meeting)
        score = 1 - self.x - 1 / self.t
        if self.t == 3:
            match self.ends:
                case "memory":
                    raise MemoryError("no room for the batch")
                case "nan":
                    score = math.nan
                case "diverged":
                    raise FloatingPointError("the loss is inf at iteration 3")
                case "error":
                    raise KeyError("a bug of the user's")
                case "other config":
                    return {"score": score, "config_used": {"x": self.x + 1}}
                case "no metric":
                    return {"accuracy": score}
                case "killed once" if self.marker and not self.marker.exists():
                    self.marker.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                case "interrupted":
                    os.kill(os.getpid(), signal.SIGINT)
                case "killed always":
                    os.kill(os.getpid(), signal.SIGKILL)
        return {
            "score": score,
            "extra": np.float32(self.t),
            "curve": [1.0, 2.0],
            "pid": os.getpid(),
            "worker": os.getpid(),
        }

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        if self.ends == "disk full once" and self.t == 3 and self.marker and not self.marker.exists():
            self.marker.touch()
            raise OSError(28, "No space left on device")
        return {"t": self.t}

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.t = checkpoint["t"]


class Folder(tune.Trainable):
    """A trainable that keeps its state in files, counts iterations by tens, and does not clean up."""

    class Config(BaseModel):
        x: float = 0.5

    METRICS = frozenset({"loss"})

    def setup(self, config: dict[str, Any]) -> None:
        assert not hasattr(self, "left_over"), "an attribute of the trial before"
        assert "LEFT_OVER" not in os.environ, "a variable of the trial before"
        self.start_draw = float(np.random.rand())
        os.environ["LEFT_OVER"] = "1"
        self.left_over = True
        self.x, self.t = config["x"], 0

    def step(self) -> dict[str, Any]:
        self.t += 10
        return {
            "loss": (self.x - 0.3) ** 2 + 1 / self.t,
            "iteration": self.t,
            "draw": self.start_draw,
            "done": self.t == 60,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "t.txt").write_text(str(self.t))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self.t = int((Path(checkpoint) / "t.txt").read_text())


def function(config: dict[str, Any]) -> None:
    """Report five times."""
    for t in range(1, 6):
        tune.report({"score": 1 - config["x"] - 1 / t})


def function_with_checkpoint(config: dict[str, Any]) -> None:
    """Count in a checkpoint, and die once on the way."""
    import tempfile

    t = 0
    if tune.get_checkpoint():
        with tune.get_checkpoint().as_directory() as folder:
            t = int((Path(folder) / "t.txt").read_text())
    while t < 5:
        t += 1
        if t == 4 and not Path(config["marker"]).exists():
            Path(config["marker"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "t.txt").write_text(str(t))
            tune.report(
                {"score": t + config["x"], "started_at": 0.0}, checkpoint=tune.Checkpoint.from_directory(folder)
            )


def hungry_function(config: dict[str, Any]) -> None:
    """Run out of memory for x > 0.5."""
    for t in range(1, 4):
        if t == 2 and config["x"] > 0.5:
            raise MemoryError("no room for the batch")
        tune.report({"score": config["x"] + t})


def silent(config: dict[str, Any]) -> None:
    """Report nothing."""


class Waiting(tune.Trainable):
    """A trainable that reports five times a second until a file appears, at most ten times if x is 0."""

    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.marker, self.t = config["x"], Path(config["marker"]), 0

    def step(self) -> dict[str, Any]:
        self.t += 1
        time.sleep(0.2)
        done = self.marker.exists() or (self.x == 0 and self.t == 10)
        return {"score": 0.1 * self.x + self.t * 1e-6, "images_per_second": 5.0, "done": done}


def function_without_gpu(config: dict[str, Any]) -> None:
    """A function that loses its GPU, and with it its worker, if x is large."""
    if config["x"] > 0.5:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    tune.report({"score": 1 - config["x"]})


def _meet(folder: Path) -> None:
    """Wait until a second process has been here, at most five minutes."""
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 300.0
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
