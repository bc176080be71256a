"""Converts a sweep of Weights & Biases, or a Python dict of ranges, to a space file.

Content that a space file cannot express is a fault, or a note if the search is the same without it. Nothing is dropped
silently.
"""

import math
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from raysearch.config.config_tree import ConfigTree
from raysearch.config.documents import SWEEP_KEYS, Kind, read_document
from raysearch.config.faults import FaultList, Place
from raysearch.config.strict_yaml import dump, kind_of
from raysearch.config.trainable_loading import DEFAULT_TRAINABLE, load_trainable
from raysearch.config.values import plain, show
from raysearch.errors import Fault, InputError
from raysearch.space.distributions import split_entries
from raysearch.space.parsing import parse_space
from raysearch.space.settings import KEYS
from raysearch.space.spec import SearchSpec
from trainables.dotted_paths import assign
from trainables.plurals import counted
from trainables.protocol import HasReportIters
from trainables.spelling import nearest

_ALGORITHMS = {"random": "random", "grid": "grid", "bayes": "auto"}
_MODES = {"minimize": "min", "maximize": "max"}
_SWEEP_KEYS = (*SWEEP_KEYS, "name", "description")
_ELSEWHERE = ("program", "command", "project", "entity", "controller", "imageuri", "job", "queue", "scheduler")
"""Keys of a sweep that configure where and how W&B runs it."""


class Converted(NamedTuple):
    """A converted space file, and notes on the conversion."""

    document: dict[str, Any]
    notes: tuple[str, ...]

    def to_yaml(self, source: str) -> str:
        """Return the text of the space file, with a comment that names the source."""
        comments = [f"Converted from {source} by raysearch convert.", *self.notes]
        return "".join(f"# {line}\n" for line in comments) + dump(self.document, compact=True)


class Wish(NamedTuple):
    """The options given beside the file to be converted."""

    renamed: Mapping[str, str] = {}
    """Dotted paths in the config by parameter name."""
    trainable: str | None = None
    metric: str | None = None
    mode: str | None = None


def convert(source: str, wish: Wish, folder: Path) -> Converted:
    """Return the space file that is equivalent to a sweep (YAML, JSON) or to the dict that `file.py:NAME` names.

    Args:
        source: The file. A Python file is executed.
        wish: Options beside the file.
        folder: Folder in which the space file will be stored.

    Raises:
        InputError: the file cannot be read or converted; all faults at once.
    """
    path, colon, name = source.rpartition(":")
    if colon and path.endswith(".py"):
        given, read = _python_dict(Path(path).expanduser(), name, source), _of_python
        faults = FaultList(source)
    else:
        given, repeated = read_document(Path(source).expanduser(), source, Kind.SWEEP, ("parameters",))
        faults, read = FaultList(source), _of_sweep
        faults.extend(repeated)
        if "parameters" not in given:
            raise InputError(
                [Fault(source, "has no parameters, so it is not a sweep", "give a sweep, or file.py:NAME")]
            )
    trainable = load_trainable(wish.trainable or DEFAULT_TRAINABLE, folder)
    making = _Making(ConfigTree(trainable.config_model), wish, faults)
    document = read(given, making)
    faults.raise_any(given)
    if wish.trainable is not None:
        document = {"trainable": wish.trainable, **document}
    document = {key: document[key] for key in KEYS if key in document}
    parse_space(document, folder, source, origins=making.origins)
    return Converted(document, tuple(making.notes))


def parse_ranges(document: Mapping[str, Any], folder: Path) -> SearchSpec:
    """Return the search that a space file's content describes; ranges may be those of Ray Tune or Optuna.

    Raises:
        InputError: the content has faults.
    """
    faults = FaultList("space")
    in_words = with_words(document, faults)
    faults.raise_any(document)
    return parse_space(in_words, folder)


class _Making:
    """A space file under construction: the searched and the fixed values by config path."""

    def __init__(self, tree: ConfigTree, wish: Wish, faults: FaultList) -> None:
        self.tree, self.wish, self.faults = tree, wish, faults
        self.notes: list[str] = []
        self.searched: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.origins: dict[Place, str] = {}
        """Places of the sweep by places of the space file."""

    def come_from(self, place: Place, *origin: str) -> None:
        """Report faults at a place of the space file as faults at the place of the sweep that it comes from."""
        self.origins[place] = f"{self.faults.source}: {'.'.join(origin)}"

    def path(self, name: str, place: Place) -> str | None:
        """Return the path of a parameter: its new name, its own name, or the only path with the same last part."""
        path = self.wish.renamed.get(name, name)
        wrong = self.tree.misnamed(path)
        if wrong is None:
            return self.tree.resolve(path).path
        last = path.rpartition(".")[2]
        fitting = [other for other in self.tree.paths if other.rpartition(".")[2] == last]
        if len(fitting) == 1 and name not in self.wish.renamed:
            self.notes.append(f"{name} is {fitting[0]} in the config")
            return fitting[0]
        if len(fitting) > 1:
            fix = f"say which: --rename {name}={' or '.join(fitting)}"
        else:
            say = f"name it with --rename {name}=PATH, or take it out"
            also = f" Otherwise {say}" if wrong[1].endswith("?") else f", or {say}"
            fix = f"{wrong[1]}{also}" if wrong[1] else say
        self.faults.add(place, wrong[0], fix)
        return None

    def report_iters(self) -> int:
        """Return the number of iterations between two reports; 1 if the config does not know it."""
        model = self.tree.model
        if model is None or not issubclass(model, HasReportIters):
            return 1
        for values in (self.config, {}):
            try:
                return model.model_validate(values, by_name=True).report_iters()
            except ValidationError:
                continue  # faults of the values are reported when the space file is parsed
        return 1

    def fix(self, name: str, value: Any, place: Place) -> None:
        """Add a fixed value."""
        if path := self.path(name, place):
            assign(self.config, path, plain(value, place, self.faults))
            self.come_from(("config", *path.split(".")), *place)

    def search(self, name: str, words: dict[str, Any], place: Place) -> None:
        """Add a searched value."""
        if path := self.path(name, place):
            if path in self.searched:
                self.faults.add(place, f"means {path}, as another parameter does", "keep one")
            self.searched[path] = plain(words, place, self.faults)
            self.come_from(("space", path), *place)

    def objective(self, metric: str | None, mode: str | None) -> dict[str, Any] | None:
        """Return the objective; the given options override the file."""
        for place, option, value in (("name", "metric", self.wish.metric), ("goal", "mode", self.wish.mode)):
            if value is None:
                self.come_from(("objective", option), "metric", place)
            else:
                self.origins["objective", option] = f"--{option} {value}"
        metric, mode = self.wish.metric or metric, self.wish.mode or mode
        if metric is None or mode is None:
            self.faults.add(("metric",), "the metric or its direction is missing", "give --metric and --mode")
            return None
        return {"metric": metric, "mode": mode}


def _python_dict(path: Path, name: str, source: str) -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError([Fault(source, f"there is no file {path}", "check the path")])
    try:
        names = runpy.run_path(str(path))
    except (Exception, SystemExit) as error:  # the user's file may raise anything
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError([Fault(source, f"cannot be run: {message}", "")]) from error
    if not isinstance(names.get(name), Mapping):
        dicts = [key for key, value in names.items() if isinstance(value, Mapping) and not key.startswith("__")]
        what = f"{name} is {kind_of(names[name])}, not a dict" if name in names else f"the file has no {name}"
        raise InputError([Fault(source, what, nearest(name, dicts))])
    found: Mapping[str, Any] = names[name]
    return found


def _of_python(given: Mapping[str, Any], making: _Making) -> dict[str, Any]:
    """Return the space file of ranges in Python, or of a whole space file in Python."""
    if "space" in given:
        return with_words(given, making.faults)
    searched, fixed = split_entries(given, making.faults)
    for name, words in searched.items():
        making.search(name, words, (name,))
    for name, value in fixed.items():
        making.fix(name, value, (name,))
    objective = making.objective(None, None)
    return {"config": making.config, "space": making.searched, "objective": objective}


def with_words(document: Mapping[str, Any], faults: FaultList) -> dict[str, Any]:
    """Return the content of a space file with the ranges of Ray Tune and Optuna in words."""
    space = document.get("space")
    if not isinstance(space, Mapping):
        return dict(document)
    searched, fixed = split_entries(space, faults, ("space",))
    return {**document, "space": {**searched, **fixed}}


def _of_sweep(given: Mapping[str, Any], making: _Making) -> dict[str, Any]:
    faults = making.faults
    for key, value in given.items():
        if key in _ELSEWHERE or key == "description":
            making.notes.append(f"{key}: {show(value)} has no meaning here and was left out")
        elif key not in _SWEEP_KEYS:
            faults.add((key,), "is not a known key of a sweep", nearest(key, _SWEEP_KEYS))
    for name, words, place in _parameters(given.get("parameters"), ("parameters",), faults):
        _add_parameter(name, words, place, making)
    method = given.get("method")
    if method not in _ALGORITHMS:
        what = "is missing" if method is None else f"{show(method)} is not known"
        faults.add(("method",), what, nearest(str(method), _ALGORITHMS))
    if method == "bayes":
        making.notes.append(
            "bayes became search.algorithm: auto, which also uses a Gaussian process, but of learning curves"
        )
    metric = given.get("metric")
    metric = metric if isinstance(metric, Mapping) else {}
    goal = metric.get("goal", "minimize")
    if goal not in _MODES:
        faults.add(("metric", "goal"), f"{show(goal)} is not known", nearest(str(goal), _MODES))
    making.come_from(("search", "algorithm"), "method")
    making.come_from(("search", "trials"), "run_cap")
    making.come_from(("scheduler",), "early_terminate")
    making.come_from(("scheduler", "grace_iters"), "early_terminate", "min_iter")
    making.come_from(("scheduler", "reduction_factor"), "early_terminate", "eta")
    if "target" in metric:
        making.notes.append(
            f"metric.target: {show(metric['target'])} was left out, because a search ends after its number of trials"
        )
    return {
        **({"name": given["name"]} if "name" in given else {}),
        "config": making.config,
        "space": making.searched,
        "objective": making.objective(metric.get("name"), _MODES.get(str(goal), "min")),
        "search": {"algorithm": _ALGORITHMS.get(str(method)), **_num_trials(given, making)},
        "scheduler": _scheduler(given.get("early_terminate"), making),
    }


def _parameters(
    given: Any, place: Place, faults: FaultList, sections: Place = ()
) -> Iterator[tuple[str, Mapping[str, Any], Place]]:
    """Yield the dotted name, the definition and the place of every parameter."""
    if not isinstance(given, Mapping):
        faults.add(place, f"is {kind_of(given)}", "it must be a mapping of names to what is searched")
        return
    for name, words in given.items():
        names, here = (*sections, str(name)), (*place, str(name))
        if not isinstance(words, Mapping):
            faults.add(here, f"is {kind_of(words)}", "give value, values, or min and max")
        elif "parameters" in words:
            yield from _parameters(words["parameters"], (*here, "parameters"), faults, names)
        else:
            yield ".".join(names), words, here


def _add_parameter(name: str, given: Mapping[str, Any], place: Place, making: _Making) -> None:
    kind = given.get("distribution", _implied(given))
    if kind is None:
        making.faults.add(place, "has neither a value nor a range", "give value, values, or min and max")
        return
    if str(kind) not in _DISTRIBUTIONS:
        making.faults.add(place, f"distribution {show(kind)} is not known", nearest(str(kind), _DISTRIBUTIONS))
        return
    for key in ("min", "max", "q"):
        if isinstance(given.get(key, 0), bool) or not isinstance(given.get(key, 0), int | float):
            making.faults.add((*place, key), f"{show(given[key])} is not a number", "write a number")
            return
    low, high = given.get("min"), given.get("max")
    if low is not None and high is not None and low > high:
        making.faults.add(place, f"min = {low} is above max = {high}", "swap them")
        return
    if "log_uniform_values" in str(kind) and low is not None and low <= 0:
        making.faults.add(place, f"min = {low} with {kind}, a log scale, which needs min > 0", "give a larger min")
        return
    if not isinstance(given.get("values", []), list):
        making.faults.add((*place, "values"), f"is {kind_of(given['values'])}", "write a list")
        return
    try:
        words = _DISTRIBUTIONS[str(kind)](given)
    except KeyError as error:
        making.faults.add(place, f"has no {error.args[0]}, which {kind} needs", "add it")
    except OverflowError:
        what = f"{show(dict(given))} has limits that are too large, because {kind} reads them as logarithms"
        making.faults.add(place, what, f"write {kind}_values to give the values themselves")
    except ValueError as error:
        what, _, fix = str(error).partition("; ")
        making.faults.add(place, what, fix)
    else:
        if "probabilities" in given and "type" in words:
            making.notes.append(f"{name}: the probabilities were left out, because a search does not use them")
        if "type" in words:
            making.search(name, words, place)
        else:
            making.fix(name, words["value"], place)


def _implied(given: Mapping[str, Any]) -> str | None:
    """Return the distribution that W&B assumes for a parameter that names none."""
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical"
    if "mu" in given or "sigma" in given:
        return "normal"
    if "min" in given and "max" in given:
        whole = all(isinstance(given[end], int) and not isinstance(given[end], bool) for end in ("min", "max"))
        return "int_uniform" if whole else "uniform"
    return None


def _constant(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": given["value"]}


def _categorical(given: Mapping[str, Any]) -> dict[str, Any]:
    values = list(given["values"])
    return {"value": values[0]} if len(values) == 1 else {"type": "categorical", "choices": values}


def _range(low: float, high: float, *, log: bool = False, step: float | None = None) -> dict[str, Any]:
    ends = low, high, *(() if step is None else (step,))
    whole = step is not None and all(float(end).is_integer() for end in ends)
    cast = int if whole else float
    words = {"type": "int" if whole else "float", "low": cast(low), "high": cast(high)}
    if log:
        words["log"] = True
    elif step is not None and not (whole and step == 1):
        words["step"] = cast(step)
    return words


def _uniform(given: Mapping[str, Any]) -> dict[str, Any]:
    return _range(given["min"], given["max"])


def _int_uniform(given: Mapping[str, Any]) -> dict[str, Any]:
    return _range(given["min"], given["max"], step=1)


def _q_uniform(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the range of multiples of q that W&B rounds values to."""
    q = given.get("q", 1)
    low, high = (round(given[end] / q) * q for end in ("min", "max"))
    return _range(low, high, step=q)


def _log(end: Callable[[float], float], *, is_inverse: bool = False, is_rounded: bool = False) -> Any:
    """Return a function that converts a log range whose ends are logarithms, values or inverse values."""

    def build(given: Mapping[str, Any]) -> dict[str, Any]:
        low, high = end(given["min"]), end(given["max"])
        if is_inverse:
            low, high = 1.0 / high, 1.0 / low
        if not is_rounded:
            return _range(low, high, log=True)
        if given.get("q", 1) != 1:
            raise ValueError(f"q = {given['q']} on a log scale, which has no even steps; leave q out, or list values")
        return _range(max(1, round(low)), round(high), log=True, step=1)

    return build


def _endless(given: Mapping[str, Any]) -> dict[str, Any]:
    raise ValueError("a normal distribution has no limits, but a search needs them; give min and max with uniform")


def _beta(given: Mapping[str, Any]) -> dict[str, Any]:
    raise ValueError("a beta distribution is not supported; give min and max with uniform")


def _as_it_is(end: float) -> float:
    return end


_DISTRIBUTIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "constant": _constant,
    "categorical": _categorical,
    "categorical_w_probabilities": _categorical,
    "int_uniform": _int_uniform,
    "uniform": _uniform,
    "q_uniform": _q_uniform,
    "log_uniform": _log(math.exp),
    "log_uniform_values": _log(_as_it_is),
    "q_log_uniform": _log(math.exp, is_rounded=True),
    "q_log_uniform_values": _log(_as_it_is, is_rounded=True),
    "inv_log_uniform": _log(math.exp, is_inverse=True),
    "inv_log_uniform_values": _log(_as_it_is),  # also log-uniform, between the inverse ends
    "normal": _endless,
    "q_normal": _endless,
    "log_normal": _endless,
    "q_log_normal": _endless,
    "beta": _beta,
    "q_beta": _beta,
}


def _num_trials(sweep: Mapping[str, Any], making: _Making) -> dict[str, Any]:
    if "run_cap" in sweep:
        return {"trials": sweep["run_cap"]}
    if sweep.get("method") == "grid":
        sizes = [len(words["choices"]) for words in making.searched.values() if "choices" in words]
        if len(sizes) == len(making.searched):
            return {"trials": math.prod(sizes) + 1}  # the config as it stands is one more trial
    making.notes.append("the sweep has no run_cap, so search.trials is set to 32")
    return {"trials": 32}


def _scheduler(given: Any, making: _Making) -> dict[str, Any]:
    """Return the scheduler settings of W&B's Hyperband, which stops runs at its brackets just as asha does."""
    if given is None:
        return {"name": "none"}
    place = ("early_terminate",)
    if not isinstance(given, Mapping) or given.get("type") != "hyperband":
        making.faults.add(place, f"{show(given)} is not known", "W&B only has the type hyperband")
        return {}
    eta, iters = given.get("eta", 3), making.report_iters()
    if "min_iter" in given:
        first = given["min_iter"]
    elif "max_iter" in given and "s" in given:
        first = max(1, given["max_iter"] // eta ** given["s"])
    else:
        making.faults.add(place, "has neither min_iter nor max_iter with s", "add min_iter")
        return {}
    if given.get("strict"):
        making.notes.append(
            "early_terminate.strict was left out, because asha decides with the reports that it has so far"
        )
    num_iters = counted(first * iters, "iteration")
    making.notes.append(f"early_terminate: the first rung of asha is after {counted(first, 'report')}, {num_iters}")
    return {"name": "asha", "grace_iters": first * iters, "reduction_factor": eta}
