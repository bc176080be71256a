"""Output of `check`: the space, the dataset and the cost of the search, as tables and lines."""

from collections.abc import Callable
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from rich.markup import escape
from rich.table import Table

from raysearch.algorithms import num_startable
from raysearch.checks.check import Check, MeasuredTrial
from raysearch.checks.measure import NotMeasured
from raysearch.checks.text_tables import folding_table, table_of
from raysearch.config.strict_yaml import reads_as_text
from raysearch.config.values import show
from raysearch.durations import duration
from raysearch.execution.machine import gigabytes
from raysearch.search.estimate import Interval, SearchEstimate, estimate_search
from raysearch.space.parameters import Parameter, nearest_value, range_of
from raysearch.space.spec import SearchSpec
from trainables.dotted_paths import ABSENT, lookup
from trainables.plurals import counted
from trainables.protocol import DescribesData


def tables(check: Check) -> list[Table]:
    """Return all tables in reading order."""
    of_data = () if check.data is None else map(table_of, check.data.tables)
    return [space_table(check.spec), *of_data, cost_table(check)]


def space_table(spec: SearchSpec) -> Table:
    """Return the table of searched values."""
    has_conditions = any(parameter.when for parameter in spec.parameters)
    table = folding_table("searched", "range", "scale", "default", *(["only when"] if has_conditions else []))
    for parameter in spec.parameters:
        when = " and ".join(f"{path} is {_among(value)}" for path, value in parameter.when.items())
        cells = [parameter.path, _range(parameter), _scale(parameter), _default(spec, parameter)]
        table.add_row(*map(escape, cells + ([when] if has_conditions else [])))
    return table


def cost_table(check: Check) -> Table:
    """Return the table of the measured cost of a trial of each config."""
    table = folding_table("config")
    for column in ("s/iteration", "s/report", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    for index, trial in enumerate(check.trials):
        name = escape(_name(check.spec, trial, is_first=index == 0))
        if isinstance(trial.found, NotMeasured):
            table.add_row(f"{name}: {escape(trial.found.reason)}", "-", "-", "-")
            continue
        cost, peak = trial.found.cost, trial.found.peak_bytes
        report = f"{cost.seconds_per_report:.2g}" if cost.seconds_per_report else "included"
        where = "GPU " if trial.found.on_gpu else ""
        memory = "-" if peak is None else where + gigabytes(peak)
        table.add_row(name, f"{cost.seconds_per_iteration:.2g}", report, memory)
    return table


def lines(check: Check) -> list[str]:
    """Return lines on the time and memory that the search will need."""
    found = []
    if check.estimate is not None:
        found.append(f"search:  {search_line(check.spec, check.estimate)}")
    if check.seconds is not None:
        confirm = f", and {duration(check.confirm_seconds)} to confirm" if check.confirm_seconds else ""
        found.append(f"time:    {_between(check.seconds, duration)}{confirm}")
        if check.spec.resources.gpu:
            hours = check.seconds.median / 3600 * check.concurrent * check.spec.resources.gpu
            found[-1] += f"; {hours:.1f} GPU hours"
    elif check.estimate is None:
        found.append("time:    unknown, because neither the trainable nor the scheduler states a budget")
    if check.peak_bytes is not None:
        room = f"{gigabytes(check.concurrent * check.peak_bytes)} for {counted(check.concurrent, 'trial')} at a time"
        found.append(f"memory:  {room}; there is room for {check.fit_into_memory}")
    running = counted(check.concurrent, "trial runs at a time", "trials run at a time")
    found.append(f"machine: {check.machine.words}; {running}")
    return found


def warnings(check: Check) -> list[str]:
    """Return one line per config besides the first that would end without a score, and one if memory is too small."""
    lost = [
        f"{_name(check.spec, trial, is_first=False)}: {trial.found.reason}; the search ends such trials without a score"
        for trial in check.trials[1:]
        if isinstance(trial.found, NotMeasured) and trial.found.loses_trial
    ]
    return [*lost, *([] if check.warning is None else [check.warning])]


def outlook(spec: SearchSpec) -> list[str]:
    """Return lines about a search that is about to start; nothing is measured, because its first trial starts soon."""
    found = []
    target: Any = spec.trainable.target
    if isinstance(target, DescribesData):
        data = target.describe_data(spec.trainable.config_of(spec.config))
        found.append(f"{f'{data.examples}:':<12}{data.summary}")
    estimate = estimate_search(spec)
    if estimate is not None:
        found.append(f"search:     {search_line(spec, estimate)}")
    return found


def search_line(spec: SearchSpec, estimate: SearchEstimate) -> str:
    """Return the number of iterations with its interval, the number without early stopping, and that of full trials."""
    num_trials = num_startable(spec, spec.search.trials)
    trials = counted(num_trials, "trial")
    if num_trials < spec.search.trials:
        allowed = " that the constraints allow" if spec.constraints else ""
        trials += f" instead of {spec.search.trials}, because the space has no more configs{allowed}"
    iterations = f"about {_numbers(estimate.iterations, 'iteration', 'iterations')}"
    if estimate.full_trials.low >= num_trials:
        return f"{trials}, {iterations}; no trial is stopped early"
    saved = f" of {num_trials * spec.max_iters} without early stopping" if spec.max_iters else ""
    full = _numbers(estimate.full_trials, "trial trains", "trials train")
    return f"{trials}, {iterations}{saved}; {full} to the full budget"


def _between(interval: Interval, words: Callable[[float], str]) -> str:
    low, middle, high = map(words, interval)
    return middle if low == high else f"{middle} ({low} to {high})"


def _numbers(interval: Interval, one: str, many: str) -> str:
    low, middle, high = map(round, interval)
    return counted(middle, one, many) if low == high else f"{middle} ({low} to {high}) {many}"


def _name(spec: SearchSpec, trial: MeasuredTrial, *, is_first: bool) -> str:
    values = ", ".join(f"{path}={_plain(value)}" for path, value in trial.values.items())
    if not is_first:
        return f"the most expensive config: {values}"
    return "the default config" if spec.trainable.config_model is not None else f"the first config: {values}"


def _range(parameter: Parameter) -> str:
    match parameter.distribution:
        case FloatDistribution(low=low, high=high):
            return f"{low:g} to {high:g}"
        case CategoricalDistribution(choices=choices):
            return ", ".join(map(_plain, choices))
        case other:
            return range_of(other)


def _scale(parameter: Parameter) -> str:
    match parameter.distribution:
        case CategoricalDistribution():
            return "choice"
        case FloatDistribution(log=True) | IntDistribution(log=True):
            return "log"
        case FloatDistribution(step=float(step)):
            return f"steps of {step:g}"
        case IntDistribution(step=step) if step > 1:
            return f"steps of {step}"
        case _:
            return "linear"


def _default(spec: SearchSpec, parameter: Parameter) -> str:
    value = lookup(spec.config, parameter.path)
    if value is ABSENT:
        return "-"
    is_inside = nearest_value(parameter.distribution, value) == value
    return _plain(value) if is_inside else f"{_plain(value)} (outside)"


def _among(value: Any) -> str:
    return " or ".join(map(_plain, value)) if isinstance(value, list) else _plain(value)


def _plain(value: Any) -> str:
    """Return a value as text: numbers with few digits, text in quotes only if it could be read as something else."""
    if isinstance(value, str) and reads_as_text(value):
        return value
    return f"{value:.4g}" if isinstance(value, float) else show(value)
