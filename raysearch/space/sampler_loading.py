"""Loads the sampler class that `search.algorithm` names, from Optuna or from the user's own code."""

import inspect
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler

from raysearch.config.faults import FaultList
from raysearch.config.trainable_loading import load_module
from raysearch.config.values import show
from raysearch.errors import Fault, InputError
from trainables.spelling import nearest

_ALGORITHM, _ARGS = ("search", "algorithm"), ("search", "algorithm_args")
_NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY


def is_reference(algorithm: str) -> bool:
    """Return True if an algorithm is a reference to a class rather than one of our names."""
    return "." in algorithm or ":" in algorithm


def absolute_reference(algorithm: str, folder: Path) -> str:
    """Return a reference in which the path of a Python file, if there is one, is absolute."""
    file, colon, name = algorithm.rpartition(":")
    return os.path.abspath(folder / Path(file).expanduser()) + colon + name if file.endswith(".py") else algorithm


def load_sampler(reference: str) -> type[BaseSampler]:
    """Return the class that `package.module.Class`, `package.module:Class` or `/path/file.py:Class` names.

    Raises:
        InputError: the module cannot be imported, or it has no sampler of that name.
    """
    if ":" not in reference:
        reference = ":".join(reference.rsplit(".", 1))
    module, name, _ = load_module(reference, Path(), "a sampler")
    target = getattr(module, name, None)
    if inspect.isclass(target) and issubclass(target, BaseSampler):
        return target
    if target is None:
        classes = [
            key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, BaseSampler)
        ]
        fix = nearest(name, classes) if classes else "it holds no subclass of optuna.samplers.BaseSampler"
        raise InputError([Fault(reference, f"the module has no {name}", fix)])
    what = f"{name} is not a subclass of optuna.samplers.BaseSampler"
    raise InputError([Fault(reference, what, "name a sampler of Optuna, or derive the class from BaseSampler")])


def build_sampler(reference: str, arguments: Mapping[str, Any], seed: int) -> BaseSampler:
    """Return a sampler with these arguments; it gets `seed` if it takes one and the arguments do not contain it."""
    target = load_sampler(reference)
    seeded = {"seed": seed, **arguments} if "seed" in inspect.signature(target).parameters else arguments
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return target(**seeded)


def check_sampler(reference: str, arguments: Mapping[str, Any], faults: FaultList) -> None:
    """Record a fault if a reference names no usable sampler, and for each argument that the sampler does not take."""
    try:
        target = load_sampler(reference)
    except InputError as error:
        for fault in error.faults:
            faults.add(_ALGORITHM, f"{fault.where} {fault.what}", fault.fix)
        return
    if issubclass(target, CmaEsSampler):
        what = f"{show(reference)} stores its state as a pickle, and raysearch loads no pickles from a journal"
        faults.add(_ALGORITHM, what, "use cmaes, which computes its state from the trials")
        return
    num_faults = len(faults)
    parameters = inspect.signature(target).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    names = [name for name, parameter in parameters.items() if parameter.kind in _NAMED]
    for name in arguments:
        if name not in names and not takes_any:
            fix = nearest(name, names) if names else "leave it out: the class takes no arguments"
            faults.add((*_ARGS, name), f"is not an argument of {target.__name__}", fix)
    for name in names:
        if parameters[name].default is inspect.Parameter.empty and name not in {*arguments, "seed"}:
            faults.add(_ARGS, f"{target.__name__} needs {name}", f"give search.algorithm_args.{name}")
    if len(faults) > num_faults:
        return
    try:
        build_sampler(reference, arguments, seed=0)
    except Exception as error:  # a class of the user's own may raise anything
        message = " ".join(f"{type(error).__name__}: {error}".split())
        faults.add(
            _ARGS, f"{target.__name__} does not accept them: {message}", "see its documentation for valid arguments"
        )
