"""The network of a search or of a single training as an ONNX file."""

import json
from pathlib import Path

from raysearch.config.config_files import load_config
from raysearch.config.config_tree import ConfigTree
from raysearch.errors import Fault, InputError, WorkError
from raysearch.execution.standalone import load_network
from raysearch.history.history import read_history
from raysearch.history.run_dir import RunDir
from raysearch.results.export import no_best
from raysearch.space.parsing import load_space
from trainables.config import Config
from trainables.onnx_file import OnnxFile, UnequalScoresError, check_libraries, write_onnx


def export_onnx(folder: Path, out: Path) -> OnnxFile:
    """Write the best network of a run, or the network in a folder of `train`, as an ONNX file.

    Raises:
        InputError: a library is missing, or the folder has no such network.
        WorkError: the file computes other scores than the network.
    """
    check_libraries()
    config_file, checkpoint = _trained(folder.expanduser())
    config = load_config(config_file, Config)
    network, _ = load_network(config, checkpoint)
    origin = json.loads(config_file.read_text(encoding="utf-8")).get("raysearch")
    try:
        return write_onnx(network.cpu(), config, out.expanduser(), origin)
    except UnequalScoresError as error:
        raise WorkError(str(error)) from None


def _trained(folder: Path) -> tuple[Path, Path]:
    """Return the config file and the checkpoint folder."""
    config, checkpoint = folder / "config.json", folder / "checkpoint"
    if config.is_file() and checkpoint.is_dir():
        return config, checkpoint
    run_dir = RunDir.open(folder)
    trainable = load_space(run_dir.space).trainable
    if not ConfigTree(trainable.config_model).takes_openseg:
        what = f"{trainable.name} has networks of its own, which only it can load"
        raise InputError([Fault(str(folder), what, "export it with torch.onnx.export")])
    if not run_dir.best_config.is_file():
        raise no_best(read_history(run_dir.journal), run_dir)
    return run_dir.best_config, run_dir.best_checkpoint
