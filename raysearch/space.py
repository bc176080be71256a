"""Reads a space file into a typed `SearchSpec`: what is fixed, what is searched, for what, by what means.

Every fault of the file is found before anything runs, and all of them are raised at once, in the file's order.
"""

import copy
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from raysearch.errors import Fault, InputError
from raysearch.faults import FaultList, Place
from raysearch.strict_yaml import dump, kind_of, read_mapping
from raysearch.trainable_loading import LoadedTrainable, load_trainable
from raysearch.trial_config import (
    ABSENT,
    Breach,
    ConfigTree,
    Override,
    assign,
    explain,
    lookup,
    nearest,
    override_of,
    pairs_of,
    plain,
    read_config_file,
    show,
)
from trainables.protocol import HasBudget, HasThreads, HasUnused, HasWarmup

DEFAULT_TRAINABLE = "trainables.contrastive_segmentation:ContrastiveSegmentation"

_MAX_SURVEYED_STATES = 64
"""Ends the survey of a space with very many gates; what it did not reach is not called a fault."""


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number, not true or false")
    return value


def _grantable(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError(f"{value:g} is above 1 and not whole, which Ray does not grant; give {int(value)}")
    return value


_Float = Annotated[float, BeforeValidator(_number)]
_Int = Annotated[int, BeforeValidator(_number)]
_Count = Annotated[_Int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Objective(_Section):
    """What makes one trial better than another."""

    metric: str
    mode: Literal["max", "min"]


class SearchSettings(_Section):
    """How configs are proposed, and how many."""

    algorithm: Literal["tpe", "random", "qmc", "grid", "cmaes", "gp"] = "tpe"
    trials: _Count = 32
    seed: Annotated[_Int, Field(ge=0)] = 0


class SchedulerSettings(_Section):
    """Whether and when trials are stopped early (asynchronous successive halving, Li et al., MLSys 2020)."""

    name: Literal["asha", "none"] = "asha"
    grace_iters: _Count | None = None
    """Iterations of the first rung; absent: so that three rungs fit, but beyond the warm-up."""
    reduction_factor: Annotated[_Int, Field(ge=2)] = 3
    """One trial in so many passes a rung, and the next rung lies so many times further."""
    max_iters: _Count | None = None
    """The full budget; absent: the config's own."""


class ResourceSettings(_Section):
    """What one trial occupies, and how many run at a time."""

    cpu: Annotated[_Float, Field(gt=0), AfterValidator(_grantable)] = 1.0
    gpu: Annotated[_Float, Field(ge=0), AfterValidator(_grantable)] = 0.0
    concurrent: Literal["auto"] | _Count = "auto"


@dataclass(frozen=True)
class Parameter:
    """One searched value of the trial config."""

    path: str
    distribution: BaseDistribution
    when: Mapping[str, Any]
    """Dotted path -> the value, or list of values, that it must have for this parameter to matter."""

    def active(self, values: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
        """Whether its conditions hold, given searched values by path and the nested base config for the rest."""
        for path, allowed in self.when.items():
            value = values[path] if path in values else lookup(base, path)
            if not any(_same(value, other) for other in _as_list(allowed)):
                return False
        return True


@dataclass(frozen=True)
class SearchSpec:
    """A whole search, checked."""

    name: str
    trainable: LoadedTrainable
    config: dict[str, Any]
    """The nested base config; complete, with absolute paths, where the trainable has a config model."""
    parameters: tuple[Parameter, ...]
    """In the order of the file."""
    objectives: tuple[Objective, ...]
    search: SearchSettings
    scheduler: SchedulerSettings
    resources: ResourceSettings
    document: dict[str, Any]
    """The space file as run: overrides applied, paths absolute; it loads again to an equal spec."""
    max_iters: int | None
    """The full budget of a trial in iterations, where it is known."""
    grace_iters: int | None
    """The first rung; none without early stopping."""

    @cached_property
    def parameters_in_order(self) -> tuple[Parameter, ...]:
        """The parameters with every gate before what it gates."""
        return _gates_first(self.parameters)

    def trial_config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The nested config of a trial: the base config with values set at dotted paths.

        Raises:
            InputError: a path does not exist, or the values break a rule of the config.
        """
        faults = FaultList(f"a trial of {self.name}")
        tree = ConfigTree(self.trainable.config_model)
        for path in values:
            wrong = tree.misnamed(path)
            if wrong:
                faults.add((), *wrong)
        config = _with_values(self.config, values)
        validated = tree.validate(config, (), faults)
        faults.raise_any(config)
        return config if validated is None else _dumped(validated)

    def default_values(self) -> dict[str, Any]:
        """The base config's own values at the searched paths; without those that it does not hold."""
        found = {parameter.path: lookup(self.config, parameter.path) for parameter in self.parameters}
        return {path: value for path, value in found.items() if value is not ABSENT}

    def sha256(self) -> str:
        """Digest of the space file as run; the order of keys and the layout of the file do not enter."""
        return hashlib.sha256(json.dumps(self.document, sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        """The space file as run."""
        return dump(self.document)


def load_space(
    path: Path, set_values: Sequence[str] = (), trailing: Sequence[str] = (), *, cwd: Path | None = None
) -> SearchSpec:
    """The search that a space file describes.

    Args:
        path: The space file; relative paths in it start at its folder.
        set_values: `key=value` overrides of any section, by dotted path; values are YAML.
        trailing: `a.b.c value` overrides of the config, as the words of a command line.
        cwd: Where relative paths in overrides start; absent: the working directory.

    Raises:
        InputError: every fault of the file and of the overrides.
    """
    source = str(path)
    path = path.expanduser()
    document, faults = read_mapping(path, source)
    base_dir = Path(os.path.abspath(path)).parent
    return _parse(document, base_dir, source, set_values, trailing, cwd or Path.cwd(), faults)


def parse_space(
    document: Mapping[str, Any],
    base_dir: Path,
    source: str = "space",
    set_values: Sequence[str] = (),
    trailing: Sequence[str] = (),
    *,
    cwd: Path | None = None,
) -> SearchSpec:
    """The search that a space file's content describes; `source` names it in messages. See `load_space`.

    Raises:
        InputError: every fault of the document and of the overrides.
    """
    return _parse(document, base_dir, source, set_values, trailing, cwd or Path.cwd(), ())


_SECTIONS: dict[str, type[_Section]] = {
    "objective": Objective,
    "search": SearchSettings,
    "scheduler": SchedulerSettings,
    "resources": ResourceSettings,
}
_KEYS = ("name", "trainable", "config", "space", *_SECTIONS)


def _parse(
    raw: Mapping[str, Any],
    base_dir: Path,
    source: str,
    set_values: Sequence[str],
    trailing: Sequence[str],
    cwd: Path,
    found: Sequence[Fault],
) -> SearchSpec:
    faults = FaultList(source)
    faults.extend(found)
    document: dict[str, Any] = plain(raw, (), faults)
    for key in document:
        if key not in _KEYS:
            faults.add((key,), "is not known here", nearest(key, _KEYS))
    # A relative path starts where it was written: each of these may come whole from an override.
    folders = {"trainable": base_dir, "config": base_dir, "space": base_dir}
    config_overrides, space_overrides = _apply_overrides(document, set_values, folders, cwd, faults)
    config_overrides += pairs_of(trailing, faults)

    name = _name(document.get("name", Path(source).stem), faults)
    trainable = _trainable(document, folders["trainable"], faults)
    tree = ConfigTree(trainable.config_model if trainable else None)
    config = _raw_config(document, folders["config"], tree, faults)
    for override in config_overrides:
        tree.override(config, override, cwd, ("config",), faults)
    searched = _raw_space(document, folders["space"], tree, faults)
    for override in space_overrides:
        _override_space(searched, override, cwd, tree, faults)

    objectives = _objectives(document, trainable, faults)
    search = _section(document, "search", SearchSettings, faults)
    scheduler = _section(document, "scheduler", SchedulerSettings, faults)
    resources = _section(document, "resources", ResourceSettings, faults)
    base = _base_config(config, tree, resources or ResourceSettings(), faults)
    parameters = _parameters(searched, tree, faults)
    if search is not None:
        _check_algorithm(search, parameters, faults)
    survey = None
    if base is not None and _conditions_hold(parameters, searched, tree, base, faults) and tree.model is not None:
        survey = _survey(tree.model, base, _gates_first(parameters))
        _check_parameters(parameters, survey, faults)
    max_iters, grace_iters = _budget(scheduler, tree.model, survey, faults)

    faults.raise_any(document)
    assert trainable is not None, "a trainable that does not load is a fault"
    assert base is not None, "a config that does not validate is a fault"
    assert search is not None, "a section that does not validate is a fault"
    assert scheduler is not None, "a section that does not validate is a fault"
    assert resources is not None, "a section that does not validate is a fault"
    document |= {"name": name, "trainable": trainable.name, "config": config, "space": searched}
    return SearchSpec(
        name=name,
        trainable=trainable,
        config=base,
        parameters=tuple(parameters),
        objectives=objectives,
        search=search,
        scheduler=scheduler,
        resources=resources,
        document={key: document[key] for key in _KEYS if key in document},
        max_iters=max_iters,
        grace_iters=grace_iters,
    )


def _apply_overrides(
    document: dict[str, Any], set_values: Sequence[str], folders: dict[str, Path], cwd: Path, faults: FaultList
) -> tuple[list[Override], list[Override]]:
    """Set whole keys and the values of plain sections in the document; return what goes into config and space."""
    inner: dict[str, list[Override]] = {"config": [], "space": []}
    for given in set_values:
        text = f"--set {given}"
        path, equals, right = given.partition("=")
        key, _, rest = path.partition(".")
        if not equals:
            faults.extend([Fault(text, "has no =", "write --set dotted.path=value")])
            continue
        override = override_of(text, rest, right, faults)
        if override is None:
            continue
        if key not in _KEYS:
            faults.extend([Fault(text, f"the space file has no {key}", nearest(key, _KEYS))])
        elif not rest:
            document[key] = override.value
            faults.note_origin((key,), text)
            if key in folders:
                folders[key] = cwd
        elif key in inner:
            inner[key].append(override)
        elif key not in _SECTIONS or rest not in _SECTIONS[key].model_fields:
            valid = _SECTIONS[key].model_fields if key in _SECTIONS else ()
            faults.extend([Fault(text, f"{key} has no {rest}", nearest(rest, valid))])
        else:
            section = document[key] if document.get(key) is not None else {}
            if isinstance(section, dict):
                document[key] = {**section, rest: override.value}
                faults.note_origin((key, rest), text)
            else:
                faults.extend([Fault(text, f"{key} is {kind_of(section)} in the file", f"set {key} as a whole")])
    return inner["config"], inner["space"]


def _name(name: Any, faults: FaultList) -> str:
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str):
        faults.add(("name",), f"{show(name)} is {kind_of(name)}, not text", "write it in quotes")
    elif not name.strip() or name.startswith(".") or not all(c.isprintable() and c not in "/\\" for c in name):
        faults.add(("name",), f"{show(name)} cannot name a folder", "use letters, digits, - and _")
    return str(name)


def _trainable(document: dict[str, Any], folder: Path, faults: FaultList) -> LoadedTrainable | None:
    reference = document.get("trainable", DEFAULT_TRAINABLE)
    if not isinstance(reference, str):
        what = f"{show(reference)} is {kind_of(reference)}, not text"
        faults.add(("trainable",), what, "write package.module:Name or file.py:Name")
        return None
    file, colon, name = reference.rpartition(":")
    if file.endswith(".py"):
        reference = os.path.abspath(folder / Path(file).expanduser()) + colon + name
    try:
        return load_trainable(reference, folder)
    except InputError as error:
        for fault in error.faults:
            faults.add(("trainable",), f"{fault.where} {fault.what}", fault.fix)
        return None


def _raw_config(document: dict[str, Any], folder: Path, tree: ConfigTree, faults: FaultList) -> dict[str, Any]:
    """The values under `config:`, in the space file or in the file it names, with absolute paths."""
    values = document.get("config")
    if isinstance(values, str):
        file = Path(os.path.abspath(folder / Path(values).expanduser()))
        try:
            found, repeated = read_config_file(file, str(file))
        except InputError as error:
            faults.extend(error.faults)
            return {}
        faults.extend(repeated)
        faults.note_origin(("config",), str(file))
        values, folder = plain(found, ("config",), faults), file.parent
    if values is None:
        values = {}
    if not isinstance(values, dict):
        faults.add(("config",), f"is {kind_of(values)}", "it must be a mapping, or the path to a file that holds one")
        return {}
    return tree.prepare(values, folder, ("config",), faults)


def _base_config(
    config: dict[str, Any], tree: ConfigTree, resources: ResourceSettings, faults: FaultList
) -> dict[str, Any] | None:
    """The complete base config; where it breaks a rule, one without the wrong values, so that checking can go on."""
    if tree.model is None:
        return config
    validated = tree.validate(config, ("config",), faults)
    if validated is None:
        stand_in = copy.deepcopy(config)
        try:
            tree.model.model_validate(config, by_name=True)
        except ValidationError as error:
            for breach in explain(error, tree.model, config):
                _remove(stand_in, breach.place)
        validated = tree.validate(stand_in, ("config",), FaultList(""))
        if validated is None:
            return None
    num_threads = max(1, int(resources.cpu))
    if isinstance(validated, HasThreads) and callable(validated.with_threads):
        threaded = validated.with_threads(num_threads)
        assert isinstance(threaded, BaseModel), "with_threads returns the config it was asked of"
        validated = threaded
    return _dumped(validated)


def _remove(config: dict[str, Any], place: Place) -> None:
    for key in place[:-1]:
        below = config.get(key)
        if not isinstance(below, dict):
            break
        config = below
    if place:
        config.pop(place[-1], None)
    else:
        config.clear()


_S = TypeVar("_S", bound=_Section)


def _section(document: dict[str, Any], key: str, model: type[_S], faults: FaultList) -> _S | None:
    value = document.get(key)
    return _settings({} if value is None else value, (key,), model, faults)


def _settings(value: Any, place: Place, model: type[_S], faults: FaultList) -> _S | None:
    if not isinstance(value, dict):
        faults.add(place, f"is {kind_of(value)}", f"it must be a mapping of {', '.join(model.model_fields)}")
        return None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for breach in explain(error, model, value):
            faults.add((*place, *breach.place), breach.what, breach.fix)
        return None


def _objectives(
    document: dict[str, Any], trainable: LoadedTrainable | None, faults: FaultList
) -> tuple[Objective, ...]:
    given = document.get("objective")
    if not given:
        faults.add(("objective",), "is missing", "give one, such as {metric: miou, mode: max}")
        return ()
    parsed = [_settings(value, ("objective",), Objective, faults) for value in _as_list(given)]
    if len(parsed) > 1:
        faults.add(("objective",), f"names {len(parsed)} objectives", "one objective is supported; keep one")
    reported = trainable.metrics if trainable is not None else None
    for objective in parsed:
        if objective is not None and reported is not None and objective.metric not in reported:
            what = f"{show(objective.metric)} is never reported by the trainable"
            faults.add(("objective", "metric"), what, nearest(objective.metric, sorted(reported)))
    return tuple(objective for objective in parsed if objective is not None)


class _FloatWords(_Section):
    low: _Float
    high: _Float
    log: bool = False
    step: _Float | None = None


class _IntWords(_Section):
    low: _Int
    high: _Int
    log: bool = False
    step: _Int = 1


class _CategoricalWords(_Section):
    choices: list[Any]


_WORDS: dict[str, type[_FloatWords | _IntWords | _CategoricalWords]] = {
    "float": _FloatWords,
    "int": _IntWords,
    "categorical": _CategoricalWords,
}


def _raw_space(document: dict[str, Any], folder: Path, tree: ConfigTree, faults: FaultList) -> dict[str, Any]:
    """The values under `space:`, by path in its first spelling and with absolute paths among the choices."""
    values = document.get("space")
    if values is None:
        return {}
    if not isinstance(values, dict):
        faults.add(("space",), f"is {kind_of(values)}", "it must be a mapping of dotted paths to what is searched")
        return {}
    searched: dict[str, Any] = {}
    for key, words in values.items():
        path = tree.resolve(key).path
        if path in searched:
            faults.add(("space", key), f"is {path} by another name, which is searched too", "keep one")
        searched[path] = _absolute_words(path, words, folder, tree)
    return searched


def _absolute_words(path: str, words: Any, folder: Path, tree: ConfigTree) -> Any:
    if not isinstance(words, dict):
        return words
    absolute = dict(words)
    if isinstance(words.get("choices"), list):
        absolute["choices"] = tree.absolute(path, words["choices"], folder)
    if isinstance(words.get("when"), dict):
        absolute["when"] = {
            tree.resolve(gate).path: tree.absolute(gate, value, folder) for gate, value in words["when"].items()
        }
    return absolute


def _override_space(
    searched: dict[str, Any], override: Override, cwd: Path, tree: ConfigTree, faults: FaultList
) -> None:
    """Set one word of one searched path in place; the longest path that fits is meant, since paths hold dots."""
    fitting = [path for path in searched if f"{override.path}.".startswith(f"{path}.")]
    path = max(fitting, key=len, default=override.path)
    key, _, gate = override.path[len(path) + 1 :].partition(".")
    words = searched.get(path)
    if not key and (fitting or isinstance(override.value, dict)):
        searched[path] = _absolute_words(path, override.value, cwd, tree)
        faults.note_origin(("space", path), override.text)
    elif not fitting:
        what = f"{path.rpartition('.')[0] or path} is not searched"
        faults.extend([Fault(override.text, what, nearest(path.rpartition(".")[0], searched))])
    elif not isinstance(words, dict) or (gate and key != "when"):
        faults.extend([Fault(override.text, f"{path} has no {key}.{gate}".rstrip("."), "set it as a whole")])
    else:
        value = {**(words.get("when") or {}), gate: override.value} if gate else override.value
        searched[path] = {**words, **_absolute_words(path, {key: value}, cwd, tree)}
        faults.note_origin(("space", path, key), override.text)


def _parameters(searched: dict[str, Any], tree: ConfigTree, faults: FaultList) -> list[Parameter]:
    if not searched:
        faults.add(("space",), "is missing or empty, so nothing would be searched", "give at least one path")
    parameters = []
    for path, words in searched.items():
        num_faults = len(faults)
        wrong = tree.misnamed(path)
        if wrong:
            faults.add(("space", path), *wrong)
        distribution = _distribution(path, words, faults)
        if distribution is not None and len(faults) == num_faults:
            parameters.append(Parameter(path, distribution, words.get("when") or {}))
    return parameters


def _distribution(path: str, words: Any, faults: FaultList) -> BaseDistribution | None:
    place = ("space", path)
    if not isinstance(words, dict):
        faults.add(place, f"{show(words)} is {kind_of(words)}", "it must be a mapping: {type: float, low: …, high: …}")
        return None
    kind = words.get("type")
    if not isinstance(kind, str) or kind not in _WORDS:
        what = "type is missing" if kind is None else f"type = {show(kind)} is not known"
        faults.add(place, what, nearest(str(kind), _WORDS))
        return None
    if not isinstance(words.get("when") or {}, dict):
        faults.add(place, f"when = {show(words['when'])}", "it must be a mapping of a path to the value it must have")
    own = {key: value for key, value in words.items() if key not in ("type", "when")}
    match _settings(own, place, _WORDS[kind], faults):
        case _FloatWords(low=low, high=high, log=log, step=step) as floats:
            if _limits_fit(place, floats, faults):
                return FloatDistribution(low, high, log=log, step=step)
        case _IntWords(low=low, high=high, log=log, step=step) as ints:
            if _limits_fit(place, ints, faults):
                return IntDistribution(low, high, log=log, step=step)
        case _CategoricalWords(choices=choices):
            if _choices_fit(place, choices, faults):
                return CategoricalDistribution(choices)
    return None


def _limits_fit(place: Place, words: _FloatWords | _IntWords, faults: FaultList) -> bool:
    num_faults = len(faults)
    if words.low > words.high:
        faults.add(place, f"low = {words.low} is above high = {words.high}", "swap them")
    if words.log and isinstance(words, _FloatWords) and words.low <= 0:
        fix = "a log scale needs low > 0, for example 1e-5"
        faults.add(place, f"low = {words.low} with log: true", fix)
    if words.log and isinstance(words, _IntWords) and words.low < 1:
        faults.add(place, f"low = {words.low} with log: true", "a log scale over whole numbers needs low >= 1")
    if words.log and words.step not in (None, 1 if isinstance(words, _IntWords) else None):
        faults.add(place, f"step = {words.step} with log: true", "a log scale has no even steps; remove one of the two")
    if words.step is not None and words.step <= 0:
        faults.add(place, f"step = {words.step}", "a step must be greater than 0")
    return len(faults) == num_faults


def _choices_fit(place: Place, choices: list[Any], faults: FaultList) -> bool:
    num_faults = len(faults)
    if not choices:
        faults.add(place, "choices is empty", "give at least one choice")
    for index, choice in enumerate(choices):
        if isinstance(choice, list | dict):
            what = f"the choice {show(choice)} is {kind_of(choice)}"
            faults.add(place, what, "a choice is text, a number, true, false or null")
        elif choice in choices[:index]:
            faults.add(place, f"the choice {show(choice)} is given twice", "keep one")
    return len(faults) == num_faults


def _check_algorithm(search: SearchSettings, parameters: Sequence[Parameter], faults: FaultList) -> None:
    numeric = [p for p in parameters if not isinstance(p.distribution, CategoricalDistribution)]
    if search.algorithm == "cmaes" and parameters and not numeric:
        faults.add(("search", "algorithm"), "cmaes with no numeric parameter", "use tpe, random or grid")
    for parameter in numeric if search.algorithm == "grid" else ():
        distribution = parameter.distribution
        if isinstance(distribution, FloatDistribution) and distribution.step is None:
            what = "a float without step, in a search by grid"
            faults.add(("space", parameter.path), what, "give a step, or list the values as choices")


def _conditions_hold(
    parameters: Sequence[Parameter],
    searched: Mapping[str, Any],
    tree: ConfigTree,
    base: Mapping[str, Any],
    faults: FaultList,
) -> bool:
    """Check every `when`: its paths exist, its values can occur, and no parameter waits for itself."""
    num_faults = len(faults)
    by_path = {parameter.path: parameter for parameter in parameters}
    for parameter in parameters:
        place = ("space", parameter.path)
        for gate, allowed in parameter.when.items():
            fixed = lookup(base, gate)
            wrong = tree.misnamed(gate)
            if wrong:
                faults.add(place, f"when: {wrong[0]}", wrong[1])
            elif gate in by_path:
                for value in _as_list(allowed):
                    if not _can_take(by_path[gate], value, fixed):
                        what = f"when: {gate} is never {show(value)}"
                        faults.add(place, what, f"it is searched over {_range(by_path[gate].distribution)}")
            elif gate in searched:
                continue  # its own fault is told already
            elif fixed is ABSENT:
                faults.add(place, f"when: the config has no {gate}", nearest(gate, searched))
            elif not any(_same(fixed, value) for value in _as_list(allowed)):
                what = f"when: {gate} is never {show(allowed)}"
                faults.add(place, what, f"it is {show(fixed)} in the config, and it is not searched")
    try:
        _gates_first(parameters)
    except CycleError as error:
        cycle = error.args[1]
        faults.add(("space", cycle[-1]), f"when: waits for itself ({' -> '.join(cycle)})", "remove one condition")
    return len(faults) == num_faults


def _gates_first(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    by_path = {parameter.path: parameter for parameter in parameters}
    gates = {path: [gate for gate in parameter.when if gate in by_path] for path, parameter in by_path.items()}
    return tuple(by_path[path] for path in TopologicalSorter(gates).static_order())


def _can_take(gate: Parameter, value: Any, fixed: Any) -> bool:
    match gate.distribution:
        case CategoricalDistribution(choices=choices):
            taken = any(_same(choice, value) for choice in choices)
        case FloatDistribution(low=low, high=high, step=step) | IntDistribution(low=low, high=high, step=step):
            taken = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
            if taken and step is not None:
                steps = (value - low) / step
                taken = abs(steps - round(steps)) < 1e-8
        case _:
            raise AssertionError(gate.distribution)
    return taken or (bool(gate.when) and _same(fixed, value))  # an inactive gate keeps the config's value


def _range(distribution: BaseDistribution) -> str:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return ", ".join(show(choice) for choice in choices)
        case FloatDistribution(low=low, high=high) | IntDistribution(low=low, high=high):
            return f"{low} to {high}"
        case _:
            raise AssertionError(distribution)


@dataclass
class _Survey:
    """What the config model says of the space, learnt from configs at the ends of the searched ranges."""

    budget: int | None = None
    """The largest full budget of a trial."""
    warmup_end: int = 0
    """The latest end of a warm-up."""
    used: set[str] = field(default_factory=set)
    """Searched paths that some config uses."""
    active: set[str] = field(default_factory=set)
    """Searched paths whose conditions hold in some config."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Searched path -> why a config did not use it."""
    wrong: dict[tuple[str, str], tuple[str, str] | None] = field(default_factory=dict)
    """Searched path and value, in words -> what is wrong with it in every config so far, and the fix."""
    is_complete: bool = True
    """Whether every reachable combination of used and unused values was seen."""


def _survey(model: type[BaseModel], base: dict[str, Any], parameters: Sequence[Parameter]) -> _Survey:
    """Look at configs of the space, each one searched value away from another, until nothing new becomes used.

    A config is worth going on from when it uses other values than all before: that is how gates are found without
    knowing which values are gates, and without trying all combinations.
    """
    survey = _Survey()
    start = model.model_validate(base, by_name=True)
    _note_iterations(survey, start)
    frontier: deque[dict[str, Any]] = deque([{}])
    seen = {frozenset(_unused(start).items())}
    num_states = 0
    while frontier and num_states < _MAX_SURVEYED_STATES:
        state = frontier.popleft()
        num_states += 1
        for parameter in parameters:
            for words, value in _probes(parameter.distribution):
                values = _with_gates(state, parameter, value, parameters, base)
                if parameter.path not in values:
                    continue  # its conditions exclude one another
                survey.active |= set(values)
                nested = _with_values(base, values)
                try:
                    config = model.model_validate(nested, by_name=True)
                except ValidationError as error:
                    refusal = _refusal(explain(error, model, nested), parameter.path, words)
                    survey.wrong.setdefault((parameter.path, words), refusal)
                    continue
                if survey.wrong.get((parameter.path, words), ABSENT) is not None:
                    survey.wrong[parameter.path, words] = _changed_kind(config, parameter, words, value)
                _note_iterations(survey, config)
                unused = _unused(config)
                for path in values:
                    reason = next((unused[p] for p in _prefixes(path) if p in unused), None)
                    if reason is None:
                        survey.used.add(path)
                    else:
                        survey.reasons.setdefault(path, reason)
                key = frozenset(unused.items())
                if key not in seen:
                    seen.add(key)
                    frontier.append(values)
    survey.is_complete = not frontier
    return survey


def _probes(distribution: BaseDistribution) -> Iterator[tuple[str, Any]]:
    """The ends of a range (whole numbers also between), or every choice; each in words and as it is."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            for choice in choices:
                yield f"the choice {show(choice)}", choice
        case IntDistribution(low=low, high=high, step=step):
            middle = low + step * ((high - low) // step // 2)
            yield from ((f"low = {low}", low), (f"high = {high}", high), (f"{middle}, between low and high", middle))
        case FloatDistribution(low=low, high=high):
            yield from ((f"low = {low}", low), (f"high = {high}", high))
        case _:
            raise AssertionError(distribution)


def _with_gates(
    state: Mapping[str, Any], parameter: Parameter, value: Any, parameters: Sequence[Parameter], base: dict[str, Any]
) -> dict[str, Any]:
    """A state with one more value, its gates opened, and without the values that are inactive then."""
    by_path = {other.path: other for other in parameters}
    values = {**state, parameter.path: value}
    waiting = [parameter]
    while waiting:
        for gate, allowed in waiting.pop().when.items():
            if gate not in by_path:
                continue
            current = values.get(gate, lookup(base, gate))
            if not any(_same(current, other) for other in _as_list(allowed)):
                values[gate] = next(v for v in _as_list(allowed) if _can_take(by_path[gate], v, lookup(base, gate)))
            if gate in values:
                waiting.append(by_path[gate])
    kept: dict[str, Any] = {}
    for other in parameters:  # gates come first
        if other.path in values and other.active(kept, base):
            kept[other.path] = values[other.path]
    return kept


def _refusal(breaches: Sequence[Breach], path: str, words: str) -> tuple[str, str]:
    """What is wrong with a searched value, and the fix, from what is wrong with the config that holds it."""
    for breach in breaches:
        if ".".join(breach.place) == path:
            return (f"{words}: {breach.rule}" if breach.value is None else f"{words} {breach.rule}"), breach.fix
    return f"{words}: {breaches[0].what}", breaches[0].fix


def _changed_kind(config: BaseModel, parameter: Parameter, words: str, value: Any) -> tuple[str, str] | None:
    """A searched value must reach the trial as it is: text that the model turns into a number is not the same value."""
    held = lookup(_dumped(config), parameter.path)
    if type(held) is type(value) or (type(value) is int and type(held) is float):
        return None
    fix = "use type: int" if isinstance(parameter.distribution, FloatDistribution) else f"write {show(held)}"
    return f"{words} is {kind_of(value)} that the trial config turns into {show(held)}", fix


def _check_parameters(parameters: Sequence[Parameter], survey: _Survey, faults: FaultList) -> None:
    for parameter in parameters:
        place = ("space", parameter.path)
        wrong = [fault for (path, _), fault in survey.wrong.items() if path == parameter.path and fault is not None]
        for what, fix in wrong:
            faults.add(place, what, fix)
        if parameter.path not in survey.active:
            faults.add(place, "its conditions exclude one another", "remove one from when")
        elif not wrong and parameter.path not in survey.used and survey.is_complete:
            what = f"no trial would use it: {survey.reasons[parameter.path]}"
            faults.add(place, what, "change that in config, or search that too, or remove this path")


def _note_iterations(survey: _Survey, config: BaseModel) -> None:
    if isinstance(config, HasBudget) and callable(config.max_iters):
        survey.budget = max(survey.budget or 0, config.max_iters())
    if isinstance(config, HasWarmup) and callable(config.warmup_end):
        survey.warmup_end = max(survey.warmup_end, config.warmup_end())


def _unused(config: BaseModel) -> dict[str, str]:
    return config.unused() if isinstance(config, HasUnused) and callable(config.unused) else {}


def _budget(
    scheduler: SchedulerSettings | None, model: type[BaseModel] | None, survey: _Survey | None, faults: FaultList
) -> tuple[int | None, int | None]:
    """The full budget and the first rung, in iterations."""
    if scheduler is None or (model is not None and survey is None):
        return None, None  # the faults that hide them are told already
    own = survey.budget if survey is not None else None
    warmup_end = survey.warmup_end if survey is not None else 0
    max_iters = scheduler.max_iters or own
    if own is not None and max_iters is not None and max_iters > own:
        what = f"{max_iters} is beyond the config's own budget of {own} iterations, the horizon of its schedule"
        faults.add(("scheduler", "max_iters"), what, f"give at most {own}, or raise the budget in config")
    if scheduler.name == "none":
        return max_iters, None
    if max_iters is None:
        what = "is missing, and the trainable states no budget of its own"
        faults.add(("scheduler", "max_iters"), what, "give the full budget in iterations, or name: none")
        return None, None
    smallest = warmup_end + 1
    if warmup_end >= max_iters:
        what = f"the warm-up ends at iteration {warmup_end}, the full budget at {max_iters}: no rung fits between"
        faults.add(("scheduler",), what, "shorten the warm-up, or set scheduler.name to none")
    elif scheduler.grace_iters is not None and scheduler.grace_iters < smallest:
        what = f"{scheduler.grace_iters} is not beyond the warm-up, which ends at iteration {warmup_end}"
        faults.add(("scheduler", "grace_iters"), what, f"give at least {smallest}")
    elif scheduler.grace_iters is not None and scheduler.grace_iters > max_iters:
        what = f"{scheduler.grace_iters} is beyond the full budget of {max_iters} iterations"
        faults.add(("scheduler", "grace_iters"), what, f"give at most {max_iters}")
    return max_iters, scheduler.grace_iters or max(smallest, max_iters // scheduler.reduction_factor**2)


def _dumped(config: BaseModel) -> dict[str, Any]:
    return config.model_dump(mode="json", round_trip=True)


def _with_values(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = copy.deepcopy(dict(base))
    for path, value in values.items():
        assign(config, path, value)
    return config


def _prefixes(path: str) -> Iterator[str]:
    keys = path.split(".")
    return (".".join(keys[:length]) for length in range(1, len(keys) + 1))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
