"""Reads a space file into a checked `SearchSpec`.

Every fault of the file is found before anything runs, and all of them are raised at once, in the file's order.
"""

import copy
import os
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution
from pydantic import BaseModel, ValidationError

from raysearch.config.breaches import explain
from raysearch.config.config_files import Beside, ConfigFile, misplaced, misplaced_tasks, read_config_file
from raysearch.config.config_tree import ConfigTree, idle_lines
from raysearch.config.documents import SPACE_KEYS, Kind, read_document
from raysearch.config.faults import FaultList, Place
from raysearch.config.overrides import Override, override_of, pairs_of
from raysearch.config.sections import read_section
from raysearch.config.strict_yaml import kind_of
from raysearch.config.trainable_loading import LoadedTrainable, load_trainable
from raysearch.config.values import dumped, plain, show
from raysearch.errors import Fault, InputError
from raysearch.history.metric_names import PEAK_MEMORY, entry_of, names_of_entries
from raysearch.space.confirm_settings import obstacle
from raysearch.space.constraints import Constraint, read_constraints
from raysearch.space.parameters import Parameter, conditions_hold, gates_first, read_parameters
from raysearch.space.sampler_loading import absolute_reference, check_sampler, is_reference
from raysearch.space.settings import (
    DEFAULT_TRAINABLE,
    KEYS,
    SECTIONS,
    Objective,
    OpensegReference,
    ResourceSettings,
    SchedulerSettings,
    SearchSettings,
)
from raysearch.space.shipped import find_space
from raysearch.space.spec import SearchSpec, entries_of
from raysearch.space.survey import Survey, check_parameters, survey_space
from raysearch.space.track_settings import TrackSettings
from trainables.dotted_paths import assign, leaves, with_values
from trainables.openseg.flags import Flags, read_flags
from trainables.protocol import HasThreads
from trainables.spelling import nearest

Look = Callable[[LoadedTrainable, dict[str, Any]], list[Fault]]
"""What is wrong with a complete base config that only its data and its trainable tell."""


def load_space(
    path: Path,
    set_values: Sequence[str] = (),
    trailing: Sequence[str] = (),
    *,
    cwd: Path | None = None,
    look: Look | None = None,
) -> SearchSpec:
    """The search that a space file describes.

    Args:
        path: The space file, or the name of a shipped one; relative paths in it start at its folder.
        set_values: `key=value` overrides of any section, by dotted path; values are YAML.
        trailing: `a.b.c value` overrides of the config, as the words of a command line.
        cwd: Where relative paths in overrides start; absent: the working directory.
        look: Asked where the file has faults, so that those of the data are told together with them.

    Raises:
        InputError: every fault of the file and of the overrides.
    """
    source = str(path)
    path = find_space(path)
    document, faults = read_document(path, source, Kind.SPACE, SPACE_KEYS)
    base_dir = Path(os.path.abspath(path)).parent
    return _parse(document, base_dir, source, set_values, trailing, cwd or Path.cwd(), faults, look)


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


def _parse(
    raw: Mapping[str, Any],
    base_dir: Path,
    source: str,
    set_values: Sequence[str],
    trailing: Sequence[str],
    cwd: Path,
    found: Sequence[Fault],
    look: Look | None = None,
) -> SearchSpec:
    faults = FaultList(source)
    faults.extend(found)
    document: dict[str, Any] = plain(raw, (), faults)
    for key in document:
        if key not in KEYS:
            sweep = "it is a sweep's: `raysearch convert` makes a space file of it"
            faults.add((key,), "is not known here", sweep if key == "parameters" else nearest(key, KEYS))
    # A relative path starts where it was written: each of these may come whole from an override.
    folders = {"trainable": base_dir, "config": base_dir, "space": base_dir, "search": base_dir, "algorithm": base_dir}
    config_overrides, space_overrides = _apply_overrides(document, set_values, folders, cwd, faults)
    flags = read_flags(trailing, cwd)
    faults.extend([*flags.faults, *misplaced_tasks(flags)])
    config_overrides += pairs_of(flags.rest, faults)

    name = _name(document.get("name", Path(source).stem), faults)
    trainable = _trainable(document, folders["trainable"], faults)
    tree = ConfigTree(trainable.config_model if trainable else None)
    file = _raw_config(document, folders["config"], tree, Beside(config_overrides, flags, cwd), faults)
    config = file.values
    for override in file.overrides:
        tree.override(config, override, cwd, ("config",), faults)
    searched = _raw_space(document, folders["space"], tree, faults)
    for override in space_overrides:
        _override_space(searched, override, cwd, tree, faults)

    _make_sources_absolute(document.get("search"), folders["search"])
    _make_sampler_absolute(document.get("search"), folders["algorithm"])
    search = read_section(document.get("search"), ("search",), SearchSettings, faults)
    scheduler = read_section(document.get("scheduler"), ("scheduler",), SchedulerSettings, faults)
    resources = read_section(document.get("resources"), ("resources",), ResourceSettings, faults)
    track = read_section(document.get("track"), ("track",), TrackSettings, faults)
    base = _base_config(config, tree, resources or ResourceSettings(), faults)
    parameters = read_parameters(searched, tree, faults)
    objectives = _objectives(document, trainable, tree, base, faults)
    if search is not None:
        _check_algorithm(search, parameters, faults)
        _check_several(objectives, search, scheduler, faults)
        _check_confirm(search, trainable, searched, objectives, faults)
    survey = None
    if trainable is not None and base is not None and conditions_hold(parameters, searched, tree, base, faults):
        survey = survey_space(tree.model, base, gates_first(parameters)) if tree.model is not None else None
        if survey is not None:
            check_parameters(parameters, survey, faults)
    idle = tree.idle_notices(config, survey.unused) if survey is not None else []
    if scheduler is not None:
        given_settings = [f"scheduler.{key}" for key in document.get("scheduler") or ()]
        idle += idle_lines(given_settings, {f"scheduler.{key}": why for key, why in scheduler.unused().items()})
    if search is not None and not search.warm_start and "first_points" in (document.get("search") or ()):
        idle += idle_lines(["search.first_points"], {"search.first_points": "search.warm_start is absent"})
    max_iters, grace_iters = _budget(scheduler, trainable, survey, faults)
    constraints: tuple[Constraint, ...] = ()
    if trainable is not None and base is not None:
        given, metrics = document.get("constraints"), trainable.metrics
        constraints = read_constraints(given, tree, base, parameters, metrics, entries_of(tree.model, base), faults)

    if faults and look is not None and trainable is not None and base is not None:
        faults.extend(look(trainable, base))
    faults.raise_any(document)
    assert trainable is not None, "a trainable that does not load is a fault"
    assert base is not None, "a config that does not validate is a fault"
    assert search is not None, "a section that does not validate is a fault"
    assert scheduler is not None, "a section that does not validate is a fault"
    assert resources is not None, "a section that does not validate is a fault"
    assert track is not None, "a section that does not validate is a fault"
    document |= {"name": name, "trainable": trainable.name, "config": base, "space": searched}
    return SearchSpec(
        name=name,
        trainable=trainable,
        config=base,
        parameters=tuple(parameters),
        objectives=objectives,
        search=search,
        scheduler=scheduler,
        resources=resources,
        track=track,
        document={key: document[key] for key in KEYS if key in document},
        max_iters=max_iters,
        grace_iters=grace_iters,
        constraints=constraints,
        notices=(*file.notices, *idle),
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
        if key not in KEYS:
            faults.extend([Fault(text, f"the space file has no {key}", nearest(key, KEYS))])
        elif not rest:
            document[key] = override.value
            faults.note_origin((key,), text)
            if key in folders:
                folders[key] = cwd
            if key == "search":
                folders["algorithm"] = cwd
        elif key in inner:
            inner[key].append(override)
        elif key not in SECTIONS or rest.partition(".")[0] not in SECTIONS[key].model_fields:
            valid = SECTIONS[key].model_fields if key in SECTIONS else ()
            faults.extend([Fault(text, f"{key} has no {rest}", nearest(rest, valid))])
        else:
            section = document[key] if document.get(key) is not None else {}
            if isinstance(section, dict):
                document[key] = with_values(section, {rest: override.value})
                if (key, rest) == ("search", "warm_start"):
                    folders["search"] = cwd
                if (key, rest) == ("search", "algorithm"):
                    folders["algorithm"] = cwd
                faults.note_origin((key, *rest.split(".")), text)
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


def _raw_config(
    document: dict[str, Any], folder: Path, tree: ConfigTree, beside: Beside, faults: FaultList
) -> ConfigFile:
    """The values under `config:`, in the space file or in the file it names, with absolute paths."""
    values = document.get("config")
    if isinstance(values, str):
        return _config_in_file(values, folder, tree, beside, faults)
    if isinstance(values, dict) and "openseg" in values and tree.takes_openseg:
        return _openseg_config(values, folder, tree, beside, faults)
    faults.extend(misplaced(beside.flags, "config"))
    if values is None:
        values = {}
    if not isinstance(values, dict):
        faults.add(("config",), f"is {kind_of(values)}", "it must be a mapping, or the path to a file that holds one")
        return ConfigFile({}, beside.overrides)
    return ConfigFile(tree.prepare(values, folder, ("config",), faults), beside.overrides)


def _config_in_file(name: str, folder: Path, tree: ConfigTree, beside: Beside, faults: FaultList) -> ConfigFile:
    path = Path(os.path.abspath(folder / Path(name).expanduser()))
    try:
        file = read_config_file(path, str(path), tree, beside)
    except InputError as error:
        faults.extend(error.faults)
        return ConfigFile({}, beside.overrides)
    faults.extend(file.faults)
    faults.note_origin(("config",), str(path))
    for dotted, origin in file.origins.items():
        faults.note_origin(("config", *dotted.split(".")), origin)
    values = plain(file.values, ("config",), faults)
    return file._replace(values=tree.prepare(values, path.parent, ("config",), faults))


def _openseg_config(
    values: dict[str, Any], folder: Path, tree: ConfigTree, beside: Beside, faults: FaultList
) -> ConfigFile:
    """A file of the openseg dialect with the flags beside it; values of the config go on top."""
    named = {key: values[key] for key in OpensegReference.model_fields if key in values}
    reference = read_section(named, ("config",), OpensegReference, faults)
    if reference is None:
        return ConfigFile({}, beside.overrides)
    flags = _flags_in_file(reference, folder, faults)
    if flags is None:
        return ConfigFile({}, beside.overrides)
    own = tree.prepare({key: values[key] for key in values if key not in named}, folder, ("config",), faults)
    joined = Flags(
        given=(*flags.given, *beside.flags.given), passed_over=(*flags.passed_over, *beside.flags.passed_over)
    )
    file = _config_in_file(reference.openseg, folder, tree, replace(beside, flags=joined), faults)
    for path, value in leaves(own):
        faults.note_origin(("config", *path.split(".")), f"{faults.source}: config.{path}")
        assign(file.values, path, value)
    return file


def _flags_in_file(reference: OpensegReference, folder: Path, faults: FaultList) -> Flags | None:
    try:
        words = shlex.split(reference.flags) if isinstance(reference.flags, str) else reference.flags
    except ValueError as error:
        faults.add(("config", "flags"), f"{show(reference.flags)}: {error}", "close the quotation, or write a list")
        return None
    flags = read_flags(words, folder)
    for fault in (*flags.faults, *misplaced_tasks(flags)):
        faults.add(("config", "flags"), f"{fault.where} {fault.what}", fault.fix)
    for word in flags.rest:
        faults.add(("config", "flags"), f"{word} belongs to no flag", "write values of the config beside openseg")
    return flags


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
    return dumped(validated)


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


def _objectives(
    document: dict[str, Any],
    trainable: LoadedTrainable | None,
    tree: ConfigTree,
    base: Mapping[str, Any] | None,
    faults: FaultList,
) -> tuple[Objective, ...]:
    given = document.get("objective")
    if not given:
        faults.add(("objective",), "is missing", "give one, such as {metric: miou, mode: max}")
        return ()
    several = given if isinstance(given, list) else [given]
    # Where the config breaks a rule, its own fault is told, and the names of what it reports are not known.
    reported = trainable.metrics if trainable is not None and base is not None else None
    entries = {} if base is None else entries_of(tree.model, base)
    objectives = []
    metrics: list[str] = []
    for index, one in enumerate(several):
        place = ("objective", str(index)) if len(several) > 1 else ("objective",)
        objective = read_section(one, place, Objective, faults)
        metric = one.get("metric") if isinstance(one, dict) else None
        if isinstance(metric, str):
            _check_metric(metric, metrics, reported, entries, (*place, "metric"), faults)
            metrics.append(metric)
        objectives.append(objective)
    return tuple(objective for objective in objectives if objective is not None)


def _check_metric(
    metric: str,
    before: Sequence[str],
    reported: Collection[str] | None,
    entries: Mapping[str, Sequence[str]],
    place: Place,
    faults: FaultList,
) -> None:
    """Record a fault where a metric cannot be an objective after those before it."""
    entry = entry_of(metric, reported, entries)
    if metric in before or (entry is not None and entry in [entry_of(one, reported, entries) for one in before]):
        faults.add(place, f"{show(metric)} is an objective already", "name every metric once")
    elif metric == PEAK_MEMORY and not before:
        what = f"{metric} only grows while a trial trains, so the first report would be the best"
        faults.add(place, what, "name another objective before it")
    elif metric in entries:
        example = names_of_entries({metric: entries[metric]})[0]
        what = f"{show(metric)} is a list of {len(entries[metric])} numbers, and an objective is one"
        faults.add(place, what, f"name an entry of it, such as {example}")
    elif reported is not None and entry is None and metric not in {*reported, PEAK_MEMORY}:
        names = names_of_entries(entries) if "." in metric and entries else sorted({*reported} - {*entries})
        faults.add(place, f"{show(metric)} is never reported by the trainable", nearest(metric, names))


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
    elif not isinstance(words, dict) or (gate and not (key == "when" and isinstance(words.get(key, {}), dict))):
        faults.extend([Fault(override.text, f"{path} has no {key}.{gate}".rstrip("."), "set it as a whole")])
    else:
        value = {**words.get(key, {}), gate: override.value} if gate else override.value
        searched[path] = {**words, **_absolute_words(path, {key: value}, cwd, tree)}
        faults.note_origin(("space", path, key), override.text)


def _make_sources_absolute(search: Any, folder: Path) -> None:
    """Make the paths under `warm_start` absolute in place."""
    if isinstance(search, dict) and isinstance(search.get("warm_start"), str | list):
        given = search["warm_start"]
        several = given if isinstance(given, list) else [given]
        absolute = [os.path.abspath(folder / Path(s).expanduser()) if isinstance(s, str) else s for s in several]
        search["warm_start"] = absolute if isinstance(given, list) else absolute[0]


def _make_sampler_absolute(search: Any, folder: Path) -> None:
    """Make the path of the file under `algorithm` absolute in place."""
    if isinstance(search, dict) and isinstance(search.get("algorithm"), str):
        search["algorithm"] = absolute_reference(search["algorithm"], folder)


def _check_algorithm(search: SearchSettings, parameters: Sequence[Parameter], faults: FaultList) -> None:
    if is_reference(search.algorithm):
        check_sampler(search.algorithm, search.algorithm_args, faults)
    elif search.algorithm_args:
        fix = "leave them out, or name the class of a sampler, such as optuna.samplers.TPESampler"
        faults.add(("search", "algorithm_args"), f"{search.algorithm} takes none", fix)
    numeric = [p for p in parameters if not isinstance(p.distribution, CategoricalDistribution)]
    if search.algorithm == "cmaes" and parameters and not numeric:
        faults.add(("search", "algorithm"), "cmaes with no numeric parameter", "use tpe, random or grid")
    for parameter in numeric if search.algorithm == "grid" else ():
        distribution = parameter.distribution
        if isinstance(distribution, FloatDistribution) and distribution.step is None and not distribution.single():
            what = "a float without step, in a search by grid"
            faults.add(("space", parameter.path), what, "give a step, or list the values as choices")


def _check_several(
    objectives: Sequence[Objective], search: SearchSettings, scheduler: SchedulerSettings | None, faults: FaultList
) -> None:
    """Not every algorithm and rule knows what to do with several objectives."""
    if len(objectives) > 1 and search.algorithm in ("cmaes", "curve_gp"):
        what = f"{search.algorithm} knows one objective, and there are {len(objectives)}"
        faults.add(("search", "algorithm"), what, "use tpe, nsga2 or gp")
    if scheduler is None or scheduler.by == "first":
        return
    place = ("scheduler", "by")
    if len(objectives) == 1:
        faults.add(place, f"{scheduler.by} of one objective", "leave it out, or name several objectives")
    if (scheduler.name, scheduler.form) != ("asha", "stopping"):
        named = f"{scheduler.name}, {scheduler.form}" if scheduler.name == "asha" else scheduler.name
        what = f"{scheduler.by} is a rule of asha in its stopping form, not of {named}"
        faults.add(place, what, "set by to first")
    if scheduler.slack:
        faults.add(("scheduler", "slack"), f"{scheduler.slack}, but ranks have no slack", "set slack to 0")
    if scheduler.grace_iters == "auto":
        what = f"auto looks at the first objective alone, {scheduler.by} at all of them"
        faults.add(("scheduler", "grace_iters"), what, "give the first rung in iterations, or set by to first")


def _check_confirm(
    search: SearchSettings,
    trainable: LoadedTrainable | None,
    searched: Mapping[str, Any],
    objectives: Sequence[Objective],
    faults: FaultList,
) -> None:
    if not search.confirm or trainable is None:
        return
    metric = objectives[0].metric if objectives else None
    found = obstacle(trainable.config_model, "train.seed" in searched, metric, search.confirm.split)
    if found is not None:
        faults.add(("search", "confirm"), *found)


def _budget(
    scheduler: SchedulerSettings | None, trainable: LoadedTrainable | None, survey: Survey | None, faults: FaultList
) -> tuple[int | None, int | None]:
    """The full budget and the first rung, in iterations."""
    if scheduler is None or trainable is None or (trainable.config_model is not None and survey is None):
        return None, None  # the faults that hide them are told already
    own = survey.budget if survey is not None else None
    warmup_end = survey.warmup_end if survey is not None else 0
    max_iters = scheduler.max_iters or own
    if own is not None and max_iters is not None and max_iters > own:
        what = f"{max_iters} is beyond the config's own budget of {own} iterations, the horizon of its schedule"
        faults.add(("scheduler", "max_iters"), what, f"give at most {own}, or raise the budget in config")
    _check_rule(scheduler, faults)
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
    elif scheduler.finds_first_rung:
        _check_pilots(scheduler, faults)
        return max_iters, smallest
    elif isinstance(scheduler.grace_iters, int) and scheduler.grace_iters < smallest:
        what = f"{scheduler.grace_iters} is not beyond the warm-up, which ends at iteration {warmup_end}"
        faults.add(("scheduler", "grace_iters"), what, f"give at least {smallest}")
    elif isinstance(scheduler.grace_iters, int) and scheduler.grace_iters > max_iters:
        what = f"{scheduler.grace_iters} is beyond the full budget of {max_iters} iterations"
        faults.add(("scheduler", "grace_iters"), what, f"give at most {max_iters}")
    else:
        _check_room(scheduler, max_iters, smallest, faults)
    return max_iters, _first_rung(scheduler, max_iters, smallest)


def _check_rule(scheduler: SchedulerSettings, faults: FaultList) -> None:
    """Options that the rule does not have."""
    if scheduler.form == "promotion" and scheduler.name != "asha":
        what = f"promotion, but {scheduler.name} has the stopping form alone"
        faults.add(("scheduler", "form"), what, "set scheduler.name to asha, or form to stopping")
    if scheduler.slack and scheduler.name in ("median", "none"):
        what = f"{scheduler.slack}, but {scheduler.name} has no rungs that it could apply to"
        faults.add(("scheduler", "slack"), what, "set scheduler.name to asha, hyperband or pasha, or slack to 0")


def _check_pilots(scheduler: SchedulerSettings, faults: FaultList) -> None:
    """A first rung that is found may lie anywhere, and some rules do not take every one."""
    if scheduler.name == "pasha":
        what = "auto may find a rung so late that pasha has none to grow to"
        faults.add(("scheduler", "grace_iters"), what, "give a number, or set scheduler.name to asha")


def _first_rung(scheduler: SchedulerSettings, max_iters: int, smallest: int) -> int:
    given = scheduler.grace_iters
    return given if isinstance(given, int) else max(smallest, max_iters // scheduler.reduction_factor**2)


def _check_room(scheduler: SchedulerSettings, max_iters: int, smallest: int, faults: FaultList) -> None:
    """Some rules have nothing to do where the first rung lies too close to the full budget."""
    match scheduler.name:
        case "pasha":
            factor, need = scheduler.reduction_factor, "pasha needs two rungs below the full budget"
        case "hyperband" | "median":
            factor, need = 1, f"{scheduler.name} stops trials below the full budget only"
        case _:
            return
    first_rung, largest = _first_rung(scheduler, max_iters, smallest), (max_iters - 1) // factor
    if first_rung <= largest:
        return
    given = scheduler.grace_iters is not None
    place = ("scheduler", "grace_iters") if given else ("scheduler",)
    what = f"{first_rung} of {max_iters} iterations" + ("" if given else " is the first rung") + f", but {need}"
    if largest >= smallest:
        faults.add(place, what, f"give grace_iters of at most {largest}")
    else:
        faults.add(place, what, "raise the full budget, shorten the warm-up, or set scheduler.name to asha")
