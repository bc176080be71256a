"""The network of a search or of a training as an ONNX file, which the trainable writes."""

from pathlib import Path
from typing import Any

from raysearch.config.config_files import load_trained_config
from raysearch.errors import Fault, InputError, WorkError
from raysearch.history.history import read_history
from raysearch.history.run_dir import RunDir
from raysearch.results.export import no_best
from trainables.protocol import ExportsOnnx, OnnxFile


def export_onnx(folder: Path, out: Path) -> OnnxFile:
    """Write the best network of a run, or the network in a folder of `train`, as an ONNX file.

    Raises:
        InputError: the folder has no such network, the trainable cannot write it, or a library is missing.
        WorkError: the file computes other scores than the network.
    """
    config_file, checkpoint = _trained(folder.expanduser())
    trained = load_trained_config(config_file)
    target: Any = trained.trainable.target
    if not isinstance(target, ExportsOnnx):
        what = f"{trained.trainable.name} has its own networks, which only it can load"
        raise InputError([Fault(str(folder), what, "export it with torch.onnx.export, or declare export_onnx")])
    try:
        return target.export_onnx(trained.config, checkpoint, out.expanduser(), trained.origin or None)
    except RuntimeError as error:
        raise WorkError(str(error)) from None


def _trained(folder: Path) -> tuple[Path, Path]:
    """Return the config file and the checkpoint folder."""
    config, checkpoint = folder / "config.json", folder / "checkpoint"
    if config.is_file() and checkpoint.is_dir():
        return config, checkpoint
    run_dir = RunDir.open(folder)
    if not run_dir.best_config.is_file():
        raise no_best(read_history(run_dir.journal), run_dir)
    return run_dir.best_config, run_dir.best_checkpoint
