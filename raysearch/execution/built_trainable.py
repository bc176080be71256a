"""A trainable that was created for one trial: one interface to the classes and functions of Ray Tune."""

import copy
import random
import shutil
import sys
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.train._internal.session import get_session, shutdown_session
from ray.tune.trainable import FunctionTrainable, wrap_function
from ray.tune.utils import flatten_dict

from raysearch.execution import dict_checkpoint
from trainables.protocol import CONFIG_USED

_AUTO_FILLED = frozenset(
    {
        "checkpoint_dir_name",
        "config",
        "date",
        "done",
        "episodes_total",
        "hostname",
        "iterations_since_restore",
        "node_ip",
        "pid",
        "should_checkpoint",
        "time_since_restore",
        "time_this_iter_s",
        "time_total_s",
        "timestamp",
        "timesteps_since_restore",
        "timesteps_total",
        "training_iteration",
        "trial_id",
    }
)
"""Keys that Tune adds to every result."""


def build(trainable: Any, config: dict[str, Any], storage: Any) -> tune.Trainable:
    """Return a trainable, class or function, created with a config."""
    cls = trainable if isinstance(trainable, type) else wrap_function(trainable)
    built: tune.Trainable = cls(config=copy.deepcopy(config), storage=storage)
    return built


def seed_process(seed: int) -> None:
    """Set every random state of the process, for trainables that do not set their own."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global state is what a trainable may draw from
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def save(built: tune.Trainable, folder: Path) -> bool:
    """Write a checkpoint into an existing folder; return False if the trainable writes none.

    Raises:
        InputError: the trainable returns an object that `dict_checkpoint` cannot store.
    """
    if isinstance(built, FunctionTrainable):
        result = built._last_training_result
        if result is None or result.checkpoint is None:
            return False
        with result.checkpoint.as_directory() as written:
            shutil.copytree(written, folder, dirs_exist_ok=True)
        return True
    try:
        saved = built.save_checkpoint(str(folder))
    except NotImplementedError:
        return False
    if isinstance(saved, dict):
        dict_checkpoint.write(saved, folder)
    return True


def load(built: tune.Trainable, folder: Path, training_iteration: int) -> None:
    """Load a checkpoint that was written after this number of reports.

    Raises:
        InputError: it is a pickle, which could run code.
    """
    built._iteration = training_iteration
    if isinstance(built, FunctionTrainable):
        get_session().loaded_checkpoint = tune.Checkpoint.from_directory(str(folder))
    elif dict_checkpoint.holds_one(folder):
        built.load_checkpoint(dict_checkpoint.read(folder))
    else:
        built.load_checkpoint(str(folder))


def finish(built: tune.Trainable) -> None:
    """End a trainable, so that another one can be created in the same process."""
    if isinstance(built, FunctionTrainable):
        _finish_function()
    else:
        built.cleanup()


def metrics_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers and lists of numbers that the trainable reported; nested names are joined by a slash."""
    ours = {key: value for key, value in result.items() if key not in _AUTO_FILLED and key != CONFIG_USED}
    return {key: _plain(value) for key, value in flatten_dict(ours).items() if _plain(value) is not None}


def _finish_function() -> None:
    """Let the thread of a function trainable end; it waits in its last report, or has returned."""
    session = get_session()
    if session is None:
        return
    try:
        session.finish(timeout=None)
    finally:
        shutdown_session()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple) and value and all(isinstance(v, Real) for v in value):
        return [float(v) for v in value]
    return None
