"""The last phase of parsing: checks that involve several sections of a space file."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution

from raysearch.config.config_tree import idle_lines
from raysearch.config.faults import FaultList, Place
from raysearch.config.sections import read_section
from raysearch.config.seed_and_threads import threads_of
from raysearch.config.trainable_loading import LoadedTrainable
from raysearch.config.values import show
from raysearch.history.metric_names import PEAK_MEMORY, entry_of, names_of_entries
from raysearch.space.base_config import BaseConfig
from raysearch.space.confirm_settings import obstacle
from raysearch.space.constraints import Constraint, read_constraints
from raysearch.space.document import Document
from raysearch.space.parameters import Parameter, conditions_hold, gates_first
from raysearch.space.sampler_loading import check_sampler, is_reference
from raysearch.space.searched import Searched
from raysearch.space.settings import Objective, ResourceSettings, SchedulerSettings, SearchSettings
from raysearch.space.spec import entries_of
from raysearch.space.survey import Survey, check_parameters, survey_space
from trainables.plurals import counted
from trainables.protocol import DeclaresDraws
from trainables.spelling import nearest


@dataclass(frozen=True)
class Checked:
    """The results that depend on several sections of a space file."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    max_iters: int | None
    """Full budget in iterations."""
    grace_iters: int | None
    """Iteration of the first rung."""
    idle: Sequence[str]
    """Notices about given values that have no effect, one per reason."""


def cross_check(
    document: Document,
    search: SearchSettings | None,
    scheduler: SchedulerSettings | None,
    resources: ResourceSettings | None,
    config: BaseConfig,
    space: Searched,
) -> tuple[Checked, FaultList]:
    """Return the results that depend on several sections, and the faults between them."""
    faults = FaultList(document.source, space.origins)
    objectives = _objectives(document, config, faults)
    if search is not None:
        _check_algorithm(search, space.parameters, faults)
        _check_several(objectives, search, scheduler, faults)
        _check_confirm(search, config, space.words, objectives, faults)
    if resources is not None:
        _check_threads(resources, config, space, faults)
    survey = _survey(config, space, faults)
    max_iters, grace_iters = _budget(scheduler, config.trainable, survey, faults)
    constraints: tuple[Constraint, ...] = ()
    if config.trainable is not None and config.values is not None:
        given, metrics = document.values.get("constraints"), config.trainable.metrics
        entries = entries_of(config.tree.model, config.values)
        constraints = read_constraints(given, config.tree, config.values, space.parameters, metrics, entries, faults)
    idle = [*_idle_values(config, survey), *_idle_settings(document, search, scheduler)]
    idle += _idle_slack(scheduler, config.trainable, objectives)
    return Checked(objectives, constraints, max_iters, grace_iters, idle), faults


def _survey(config: BaseConfig, space: Searched, faults: FaultList) -> Survey | None:
    """Return the survey of the space by the config model; None without a model or with faults."""
    base, model = config.values, config.tree.model
    if config.trainable is None or base is None:
        return None
    if not conditions_hold(space.parameters, space.words, config.tree, base, faults) or model is None:
        return None
    survey = survey_space(model, base, gates_first(space.parameters))
    check_parameters(space.parameters, survey, faults)
    return survey


def _idle_values(config: BaseConfig, survey: Survey | None) -> list[str]:
    return config.tree.idle_notices(config.given, survey.unused) if survey is not None else []


def _idle_settings(document: Document, search: SearchSettings | None, scheduler: SchedulerSettings | None) -> list[str]:
    idle = []
    if scheduler is not None:
        given = [f"scheduler.{key}" for key in document.values.get("scheduler") or ()]
        idle += idle_lines(given, {f"scheduler.{key}": why for key, why in scheduler.unused().items()})
    if search is not None and not search.warm_start and "first_points" in (document.values.get("search") or ()):
        idle += idle_lines(["search.first_points"], {"search.first_points": "search.warm_start is absent"})
    return idle


def _idle_slack(
    scheduler: SchedulerSettings | None, trainable: LoadedTrainable | None, objectives: Sequence[Objective]
) -> list[str]:
    """Return a notice if `slack: auto` is 0 because no draws of the objective are reported."""
    target: Any = None if trainable is None else trainable.target
    if scheduler is None or scheduler.slack != "auto" or not objectives or not isinstance(target, DeclaresDraws):
        return []
    metric, drawn = objectives[0].metric, ", ".join(sorted(target.DRAWN_METRICS)) or "no metric"
    if metric in target.DRAWN_METRICS:
        return []
    return [f"scheduler.slack: auto is 0 for {metric}: the trainable reports draws of {drawn} only; give a number"]


def _objectives(document: Document, config: BaseConfig, faults: FaultList) -> tuple[Objective, ...]:
    given = document.values.get("objective")
    if not given:
        faults.add(("objective",), "is missing", "give one, such as {metric: miou, mode: max}")
        return ()
    several = given if isinstance(given, list) else [given]
    # The names of reported metrics depend on the config, so they are unknown if the config has a fault of its own.
    trainable, base = config.trainable, config.values
    reported = trainable.metrics if trainable is not None and base is not None else None
    entries = {} if base is None else entries_of(config.tree.model, base)
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
    """Record a fault if a metric cannot be an objective after the ones before it."""
    entry = entry_of(metric, reported, entries)
    if metric in before or (entry is not None and entry in [entry_of(one, reported, entries) for one in before]):
        faults.add(place, f"{show(metric)} is already an objective", "name each metric once")
    elif metric == PEAK_MEMORY and not before:
        what = f"{metric} only grows while a trial trains, so the first report would be the best"
        faults.add(place, what, "name another objective before it")
    elif metric in entries:
        example = names_of_entries({metric: entries[metric]})[0]
        numbers = counted(len(entries[metric]), "number")
        what = f"{show(metric)} is a list of {numbers}, but an objective is a single number"
        faults.add(place, what, f"name an entry of it, such as {example}")
    elif reported is not None and entry is None and metric not in {*reported, PEAK_MEMORY}:
        names = names_of_entries(entries) if "." in metric and entries else sorted({*reported} - {*entries})
        faults.add(place, f"{show(metric)} is never reported by the trainable", nearest(metric, names))


def _check_algorithm(search: SearchSettings, parameters: Sequence[Parameter], faults: FaultList) -> None:
    if is_reference(search.algorithm):
        check_sampler(search.algorithm, search.algorithm_args, faults)
    elif search.algorithm_args:
        fix = "leave them out, or name the class of a sampler, such as optuna.samplers.TPESampler"
        faults.add(("search", "algorithm_args"), f"{search.algorithm} takes no arguments", fix)
    numeric = [p for p in parameters if not isinstance(p.distribution, CategoricalDistribution)]
    if search.algorithm == "cmaes" and parameters and not numeric:
        faults.add(("search", "algorithm"), "cmaes needs at least one numeric parameter", "use tpe, random or grid")
    for parameter in numeric if search.algorithm == "grid" else ():
        distribution = parameter.distribution
        if isinstance(distribution, FloatDistribution) and distribution.step is None and not distribution.single():
            what = "a grid search needs a step for each float"
            faults.add(("space", parameter.path), what, "give a step, or list the values as choices")


def _check_several(
    objectives: Sequence[Objective], search: SearchSettings, scheduler: SchedulerSettings | None, faults: FaultList
) -> None:
    """Record faults of algorithms and schedulers that do not support the number of objectives."""
    if len(objectives) > 1 and search.algorithm in ("cmaes", "curve_gp"):
        what = f"{search.algorithm} supports a single objective, but there are {len(objectives)}"
        faults.add(("search", "algorithm"), what, "use tpe, nsga2 or gp")
    if scheduler is None or scheduler.by == "first":
        return
    place = ("scheduler", "by")
    if len(objectives) == 1:
        faults.add(place, f"{scheduler.by} needs several objectives", "leave it out, or name several objectives")
    if (scheduler.name, scheduler.form) != ("asha", "stopping"):
        named = f"{scheduler.name}, {scheduler.form}" if scheduler.name == "asha" else scheduler.name
        what = f"{scheduler.by} only works with asha in its stopping form, not with {named}"
        faults.add(place, what, "set by to first")
    if scheduler.slack:
        faults.add(("scheduler", "slack"), f"{scheduler.slack}, but slack does not apply to ranks", "set slack to 0")
    if scheduler.grace_iters == "auto":
        what = f"auto only uses the first objective, but {scheduler.by} uses all of them"
        faults.add(("scheduler", "grace_iters"), what, "give the first rung in iterations, or set by to first")


def _check_confirm(
    search: SearchSettings,
    config: BaseConfig,
    searched: Mapping[str, Any],
    objectives: Sequence[Objective],
    faults: FaultList,
) -> None:
    if not search.confirm or config.trainable is None or config.values is None:
        return
    metric = objectives[0].metric if objectives else None
    found = obstacle(config.trainable, config.values, searched, metric, search.confirm.split)
    if found is not None:
        faults.add(("search", "confirm"), *found)


def _check_threads(resources: ResourceSettings, config: BaseConfig, space: Searched, faults: FaultList) -> None:
    """Report a number of threads that exceeds the CPUs of a trial, given or searched."""
    held = None if config.values is None else threads_of(config.tree.model, config.values)
    if held is None:
        return
    places: list[tuple[Place, Sequence[Any]]] = [(("config", *held.path.split(".")), [held.value])]
    for parameter in space.parameters:
        if parameter.path == held.path:
            searched: Any = parameter.distribution
            choices = searched.choices if isinstance(searched, CategoricalDistribution) else [searched.high]
            places.append((("space", held.path), choices))
    for place, values in places:
        most = max((value for value in values if isinstance(value, int | float)), default=0)
        if most > resources.num_threads:
            what = f"{most} threads are more than the CPUs of a trial, because resources.cpu is {resources.cpu:g}"
            faults.add(place, what, f"give at most {resources.num_threads}, or raise resources.cpu")


def _budget(
    scheduler: SchedulerSettings | None, trainable: LoadedTrainable | None, survey: Survey | None, faults: FaultList
) -> tuple[int | None, int | None]:
    """Return the full budget and the iteration of the first rung."""
    if scheduler is None or trainable is None or (trainable.config_model is not None and survey is None):
        return None, None  # the faults that make them unknown are already recorded
    own = survey.budget if survey is not None else None
    warmup_end = survey.warmup_end if survey is not None else 0
    max_iters = scheduler.max_iters or own
    if own is not None and max_iters is not None and max_iters > own:
        what = (
            f"{max_iters} is more than the config's own budget of {counted(own, 'iteration')}, where its schedule ends"
        )
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
        what = (
            f"the warm-up ends at iteration {warmup_end} and the full budget at {max_iters}, so no rung fits in between"
        )
        faults.add(("scheduler",), what, "shorten the warm-up, or set scheduler.name to none")
    elif isinstance(scheduler.grace_iters, int) and scheduler.grace_iters < smallest:
        what = f"{scheduler.grace_iters} is not after the warm-up, which ends at iteration {warmup_end}"
        faults.add(("scheduler", "grace_iters"), what, f"give at least {smallest}")
    elif isinstance(scheduler.grace_iters, int) and scheduler.grace_iters > max_iters:
        what = f"{scheduler.grace_iters} is more than the full budget of {counted(max_iters, 'iteration')}"
        faults.add(("scheduler", "grace_iters"), what, f"give at most {max_iters}")
    else:
        _check_room(scheduler, max_iters, smallest, faults)
    return max_iters, _first_rung(scheduler, max_iters, smallest)


def _check_rule(scheduler: SchedulerSettings, faults: FaultList) -> None:
    """Record faults of options that the scheduler does not have."""
    if scheduler.form == "promotion" and scheduler.name != "asha":
        what = f"promotion, but {scheduler.name} only has the stopping form"
        faults.add(("scheduler", "form"), what, "set scheduler.name to asha, or form to stopping")
    if scheduler.slack and scheduler.name in ("median", "none"):
        what = f"{scheduler.slack}, but {scheduler.name} has no rungs to which slack applies"
        faults.add(("scheduler", "slack"), what, "set scheduler.name to asha, hyperband or pasha, or slack to 0")
    if scheduler.grace_iters == "auto" and (scheduler.name, scheduler.form) not in (
        ("asha", "stopping"),
        ("none", "stopping"),
    ):
        named = f"{scheduler.name}, {scheduler.form}" if scheduler.name == "asha" else scheduler.name
        what = f"auto only works with asha in its stopping form, not with {named}"
        faults.add(("scheduler", "grace_iters"), what, "give the first rung in iterations, or leave it out")


def _first_rung(scheduler: SchedulerSettings, max_iters: int, smallest: int) -> int:
    given = scheduler.grace_iters
    return given if isinstance(given, int) else max(smallest, max_iters // scheduler.reduction_factor**2)


def _check_room(scheduler: SchedulerSettings, max_iters: int, smallest: int, faults: FaultList) -> None:
    """Record a fault if the first rung is too close to the full budget for the scheduler to have an effect."""
    match scheduler.name:
        case "pasha":
            factor, need = scheduler.reduction_factor, "pasha needs two rungs below the full budget"
        case "hyperband" | "median":
            factor, need = 1, f"{scheduler.name} only stops trials below the full budget"
        case _:
            return
    first_rung, largest = _first_rung(scheduler, max_iters, smallest), (max_iters - 1) // factor
    if first_rung <= largest:
        return
    given = scheduler.grace_iters is not None
    place = ("scheduler", "grace_iters") if given else ("scheduler",)
    what = (
        f"{first_rung} of {counted(max_iters, 'iteration')}" + ("" if given else " is the first rung") + f", but {need}"
    )
    if largest >= smallest:
        faults.add(place, what, f"give grace_iters of at most {largest}")
    else:
        faults.add(place, what, "raise the full budget, shorten the warm-up, or set scheduler.name to asha")
