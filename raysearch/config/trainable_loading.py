"""Loads the class or function that `trainable:` in a space file names, and reads what it declares."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from raysearch.config.capabilities import signature_faults
from raysearch.errors import Fault, InputError
from trainables.spelling import closest

DEFAULT_TRAINABLE = "trainables.contrastive_segmentation:ContrastiveSegmentation"
"""Reference of the trainable of a space file that names none."""

_FORMS = "write package.module:Name or file.py:Name"


@dataclass(frozen=True)
class LoadedTrainable:
    """A trainable and what it declares; `trainables.protocol` lists what that may be."""

    name: str
    """Reference by which it was loaded."""
    target: type | Callable[..., Any]
    config_model: type[BaseModel] | None
    """Its `Config`, the typed model of a trial's config."""
    metrics: frozenset[str] | None
    """Its `METRICS`, the names of all reported metrics."""
    preflight: Callable[[Any], list[str]] | None
    is_function: bool
    """True for a function, False for a class."""
    source_file: Path | None
    """File from which it was loaded; None if the reference names a package."""

    def config_of(self, values: Mapping[str, Any]) -> Any:
        """Return a nested config as the trainable's methods take it: as its `Config`, or as it is without one."""
        return values if self.config_model is None else self.config_model.model_validate(values, by_name=True)


def load_trainable(reference: str, base_dir: Path) -> LoadedTrainable:
    """Return the trainable that a reference names: `package.module:Name`, or `file.py:Name` relative to `base_dir`.

    The module of a file is pickled by value, because Ray's workers may not find the file.

    Raises:
        InputError: the module cannot be imported, or the name is not a class or function in it.
    """
    module, attribute, source_file = load_module(reference, base_dir, "a trainable")
    target = getattr(module, attribute, None)
    if not (inspect.isclass(target) or inspect.isfunction(target)):
        raise _wrong_name(reference, module, attribute)
    model = _config_model(reference, target)
    if faults := [_fault(reference, *told).faults[0] for told in signature_faults(target, model)]:
        raise InputError(faults)
    return LoadedTrainable(
        name=reference,
        target=target,
        config_model=model,
        metrics=_metrics(reference, target),
        preflight=getattr(target, "preflight", None),
        is_function=not inspect.isclass(target),
        source_file=source_file,
    )


def load_module(reference: str, base_dir: Path, kind: str) -> tuple[ModuleType, str, Path | None]:
    """Return the module and the name in a reference, and the file if the reference names one.

    Args:
        reference: `package.module:Name`, or `file.py:Name`.
        base_dir: Folder to which a relative path refers.
        kind: Description of what the name should be, for messages.

    Raises:
        InputError: the reference has another form, or the module cannot be imported.
    """
    module_name, colon, attribute = reference.rpartition(":")
    if not colon or not module_name or not attribute.isidentifier():
        raise _fault(reference, f"is not the name of {kind}", _FORMS)
    if module_name.endswith(".py"):
        source_file = (base_dir / Path(module_name).expanduser()).resolve()
        if not source_file.is_file():
            raise _fault(reference, f"there is no file {source_file}", "a relative path starts at the space file")
        return _import(reference, lambda: _module_of_file(source_file)), attribute, source_file
    if all(part.isidentifier() for part in module_name.split(".")):
        return _import(reference, lambda: importlib.import_module(module_name)), attribute, None
    raise _fault(reference, f"is not the name of {kind}", _FORMS)


def _import(reference: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise _fault(reference, f"cannot be imported: {message}", "") from error


def _module_of_file(path: Path) -> ModuleType:
    # The name is derived from path and content, so an unchanged file is loaded once and an edited one anew.
    digest = hashlib.sha256(str(path).encode() + b"\0" + path.read_bytes()).hexdigest()[:12]
    name = f"raysearch_file_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file always has a loader"
    assert spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look up their own module during execution
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _pickle_by_value(module)
    return module


def _pickle_by_value(module: ModuleType) -> None:
    """Make Ray send the module's classes and functions by value; do nothing if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        return
    from ray import cloudpickle  # late: reading a space file alone does not need Ray

    cloudpickle.register_pickle_by_value(module)


def _config_model(reference: str, target: Any) -> type[BaseModel] | None:
    model = getattr(target, "Config", None)
    if model is None:
        return None
    if not (inspect.isclass(model) and issubclass(model, BaseModel)):
        raise _fault(reference, f"its Config is {model!r}", "Config must be a pydantic model (a class)")
    return model


def _metrics(reference: str, target: Any) -> frozenset[str] | None:
    metrics = getattr(target, "METRICS", None)
    if metrics is None:
        return None
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise _fault(reference, f"its METRICS is {metrics!r}", 'METRICS must be names, such as frozenset({"miou"})')
    return frozenset(str(name) for name in metrics)


def _wrong_name(reference: str, module: ModuleType, attribute: str) -> InputError:
    if hasattr(module, attribute):
        return _fault(
            reference,
            f"{attribute} is a {type(getattr(module, attribute)).__name__}",
            "a trainable is a class or a function",
        )
    names = [n for n, v in vars(module).items() if inspect.isclass(v) or inspect.isfunction(v)]
    close = closest(attribute, names)
    own = [n for n in names if vars(module)[n].__module__ == module.__name__]
    fix = f"did you mean {close}?" if close else f"it has {', '.join(own) or 'no class and no function'}"
    return _fault(reference, f"the module has no {attribute}", fix)


def _fault(reference: str, what: str, fix: str) -> InputError:
    return InputError([Fault(reference or '""', what, fix)])
