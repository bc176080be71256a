"""Tests of `predict`, `score` and `evaluate` in this process; starting a process is tested elsewhere."""

import io
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from raysearch.commands import console, model_commands
from raysearch.config.config_files import load_trained_config
from raysearch.config.trust import trust
from raysearch.errors import InputError
from tests.raysearch.command import Command
from tests.raysearch.execution.test_standalone import write_split
from tests.raysearch.ours import train
from tests.trainables.tiny import tiny
from trainables import contrastive_segmentation, onnx_file
from trainables.config import Config
from trainables.contrastive_segmentation import ContrastiveSegmentation
from trainables.protocol import OnnxFile


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a config, its checkpoint and a validation split on disk."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny({"train.max_iters": 2, "train.num_threads": 1, "data.class_names": ["a", "b", "[red]c", "d"]})
    train(config, folder / "out")
    write_split(folder / "data", config, "val")
    write_split(folder / "data", config, "test")
    return folder


def miou(printed: str) -> str:
    found = re.search(r"mIoU ([\d.]+)", printed)
    assert found is not None, printed
    return found[1]


@pytest.mark.parametrize("mode", ["ss", "mscrop"])
def test_predict_then_score_says_what_evaluate_says(mode: str, trained: Path, command: Command, tmp_path: Path) -> None:
    config, checkpoint = trained / "out" / "config.json", trained / "out" / "checkpoint"
    images, labels = trained / "data" / "test" / "image", trained / "data" / "test" / "label"
    out = tmp_path / "out"
    words = ("--checkpoint", checkpoint, "--mode", mode)
    code, printed, _ = command("predict", config, *words, "--images", images, "--out", out, "--overlay")
    assert code == 0
    assert f"4 labels (raw ids) in {out}" in printed
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png", "2.png", "3.png", "overlay"]
    code, scored, _ = command("score", "--predictions", out, "--labels", labels, "--config", config)
    assert code == 0
    code, evaluated, _ = command("evaluate", config, *words, "--data", trained / "data", "--split", "test")
    assert code == 0
    table = scored[scored.index("┏") :]
    assert evaluated.endswith(table)
    assert "[red]c" in table
    assert miou(scored) == miou(evaluated)


def test_overrides_reach_the_prediction(trained: Path, command: Command, tmp_path: Path) -> None:
    config, checkpoint = trained / "out" / "config.json", trained / "out" / "checkpoint"
    images = trained / "data" / "val" / "image"
    words = ("predict", config, "--checkpoint", checkpoint, "--images", images, "--ids", "contiguous")
    overrides = ("data.label_class_ids", "[9, 8, 7, 6]", "evaluation.batch_size", "1")
    code, _, _ = command(*words, "--out", tmp_path / "a", *overrides)
    assert code == 0
    values = {int(v) for path in (tmp_path / "a").glob("*.png") for v in np.unique(np.asarray(Image.open(path)))}
    assert values <= {0, 1, 2, 3}


def test_a_terminal_sees_a_bar_and_a_file_sees_none(
    trained: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, checkpoint = trained / "out" / "config.json", trained / "out" / "checkpoint"
    images = trained / "data" / "val" / "image"
    commands: list[tuple[tuple[str | Path, ...], str]] = [
        (("train", config, "--out", tmp_path / "again"), "2/2"),
        (("evaluate", config, "--checkpoint", checkpoint), "4/4"),
        (("predict", config, "--checkpoint", checkpoint, "--images", images, "--out", tmp_path / "labels"), "4/4"),
    ]
    for words, whole in commands:
        seen = io.StringIO()
        monkeypatch.setattr(console, "err", Console(file=seen, force_terminal=True, width=80))
        monkeypatch.setattr(console, "out", Console(force_terminal=words[0] == "train"))
        code, printed, _ = command(*words)
        assert code == 0
        if words[0] == "train":  # lines are printed above the progress bar
            assert "iteration 2/2" in seen.getvalue()
            assert "iteration 2/2" not in printed
        assert str(words[0]) in seen.getvalue()
        assert whole in seen.getvalue()
    monkeypatch.setattr(console, "err", Console(file=(seen := io.StringIO()), width=80))
    command("evaluate", config, "--checkpoint", checkpoint)
    assert seen.getvalue() == ""


def test_a_training_becomes_an_onnx_file(
    trained: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    found = OnnxFile(2e-7, {"height": 32})
    monkeypatch.setattr(contrastive_segmentation, "write_onnx", lambda *args: written.append(args) or found)
    code, printed, _ = command("export", trained / "out", "--onnx", tmp_path / "best.onnx")
    assert code == 0
    assert printed == (
        "note: this backbone can only be exported with a fixed height, which is 32\n"
        f"network: {tmp_path / 'best.onnx'}  (differs from PyTorch by at most 2e-07)\n"
    )
    ((network, config, out, origin),) = written
    assert (out, origin) == (tmp_path / "best.onnx", None)
    assert config == Config.model_validate_json((trained / "out" / "config.json").read_text())
    weights = torch.load(trained / "out" / "checkpoint" / "model.pt", weights_only=True)
    assert all(tensor.equal(weights[name]) for name, tensor in network.state_dict().items())

    def unequal(*_: object) -> None:
        raise onnx_file.UnequalScoresError("the ONNX file differs")

    monkeypatch.setattr(contrastive_segmentation, "write_onnx", unequal)
    code, _, err = command("export", trained / "out", "--onnx", tmp_path / "best.onnx")
    assert (code, err) == (1, "failed: the ONNX file differs\n")
    code, _, err = command("export", tmp_path, "--onnx", tmp_path / "best.onnx")
    assert code == 2
    assert "is not the folder of a run" in err


def test_wrong_input_is_exit_code_2_and_a_line_a_fault(trained: Path, command: Command, tmp_path: Path) -> None:
    config, checkpoint = trained / "out" / "config.json", trained / "out" / "checkpoint"
    images = tmp_path / "images"
    images.mkdir()
    (images / "[bold]a.png").touch()
    (images / "b\nc.png").write_text("no image")
    words = ("predict", config, "--checkpoint", checkpoint, "--images", images, "--out", tmp_path / "out")
    code, _, err = command(*words)
    assert code == 2
    assert err.splitlines() == [
        f"error: {images}/[bold]a.png: is empty (0 bytes); replace or remove the file",
        f"error: {images}/b\\nc.png: is not an image that can be read; replace or remove the file",
    ]
    code, _, err = command("score", "--predictions", images, "--labels", tmp_path / "nowhere", "--config", config)
    assert code == 2
    assert len(err.splitlines()) == 1
    broken = tmp_path / "config.json"
    broken.write_text(json.dumps({"data": {"label_list": [0]}}))
    code, _, err = command("score", "--predictions", images, "--labels", images, "--config", broken)
    assert code == 2
    assert "at least 2 are needed" in err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("shape\n  mismatch"), "failed: RuntimeError: shape mismatch; the traceback is in "),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory; smaller batches, crops or networks may help"),
        (KeyError("x"), "failed: KeyError: 'x'"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", ["train", "evaluate", "predict"])
def test_whatever_the_trainer_raises_is_one_message_and_its_traceback_a_file(
    name: str,
    error: Exception,
    told: str,
    trained: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("torch.nn.Module.__call__", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config, checkpoint = trained / "out" / "config.json", trained / "out" / "checkpoint"
    options: dict[str, list[str | Path]] = {
        "train": ["--out", tmp_path / "new"],
        "evaluate": ["--checkpoint", checkpoint],
        "predict": [
            "--checkpoint",
            checkpoint,
            "--images",
            trained / "data" / "val" / "image",
            "--out",
            tmp_path / "p",
        ],
    }
    monkeypatch.setattr(ContrastiveSegmentation, "preflight", classmethod(lambda cls, config: []))
    code, out, err = command(name, config, *options[name])
    printed = " ".join(err.split())
    assert code == 1
    assert printed.startswith("failed: the ")
    assert told in printed
    assert "Traceback" not in out + err
    (file,) = (tmp_path / "new" if name == "train" else tmp_path).glob("traceback-*.log")
    assert str(file) in err.replace("\n", "")
    assert "in fail" in file.read_text()


@pytest.mark.parametrize(
    ("name", "text", "metric"),
    [
        ("best_config.json", '{"raysearch": {"metric": "pixel_accuracy"}}', "pixel_accuracy"),
        ("config.json", "{}", "miou"),
        ("config.yaml", "train: {max_iters: 50}", "miou"),
        ("config.json", '{"raysearch": null}', "miou"),
        ("other.json", '{"rate": 1, "raysearch": {"trainable": "other.py:Declares"}}', "loss"),
    ],
)
def test_a_training_is_judged_by_the_metric_of_the_search_or_by_the_usual_one(
    name: str, text: str, metric: str, tmp_path: Path
) -> None:
    (tmp_path / "other.py").write_text("class Declares:\n    METRICS = {'loss', 'time'}\n\nclass Silent: ...\n")
    trust(["other.py:Declares"], tmp_path)
    (tmp_path / name).write_text(text)
    assert model_commands._metric(tmp_path / name, load_trained_config(tmp_path / name)) == metric
    if name == "other.json":
        (tmp_path / name).write_text(text.replace("Declares", "Silent"))
        with pytest.raises(InputError, match="Silent: does not say which metric it is scored by"):
            model_commands._metric(tmp_path / name, load_trained_config(tmp_path / name))
