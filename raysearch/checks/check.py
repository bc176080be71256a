"""Time and memory that a search will need on this machine, from its first iterations and a simulated scheduler."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import CategoricalDistribution

from raysearch.algorithms import num_startable, suggest
from raysearch.checks.measure import Measurement, NotMeasured, measure
from raysearch.config.trainable_loading import DEFAULT_TRAINABLE
from raysearch.errors import Fault, InputError
from raysearch.execution.machine import Machine, concurrency_notice, gigabytes, num_fitting, this_machine
from raysearch.execution.machine_values import on_this_machine
from raysearch.execution.preflight import preflight
from raysearch.history.history import History
from raysearch.search.estimate import Interval, SearchEstimate, estimate_search
from raysearch.space.parameters import Parameter, probes, with_gates_open
from raysearch.space.spec import SearchSpec
from trainables.plurals import counted
from trainables.protocol import DataDescription, DescribesData, HasReportIters

MEASURED_FOR_S = 40.0
"""Time limit of the measurement."""

_MAX_CORNERS = 3
"""Number of most expensive configs to measure, besides the default one."""
_RAY_START_S = 8.0
_TRIAL_START_S = 0.5
"""Seconds until Ray has started, and until a trial begins in a running worker (`benchmarks/trial_turnaround.py`)."""


@dataclass(frozen=True)
class MeasuredTrial:
    """One config of the space, with its measured cost."""

    values: Mapping[str, Any]
    """Searched values that differ from the default."""
    found: Measurement | NotMeasured


@dataclass(frozen=True)
class Check:
    """The findings about a search before it runs."""

    spec: SearchSpec
    notices: tuple[str, ...]
    data: DataDescription | None
    """Description of the data; None if the trainable gives none."""
    machine: Machine
    concurrent: int
    """Number of trials that run at the same time."""
    estimate: SearchEstimate | None
    """Estimate of the search; None if the budget of a trial is unknown."""
    trials: tuple[MeasuredTrial, ...]
    """Default config first (without one, the first proposal), then the most expensive configs."""

    @property
    def default_lost(self) -> str | None:
        """Reason why the default config (the first one) would end without a score; None if it would not."""
        found = self.trials[0].found if self.trials else None
        return found.reason if isinstance(found, NotMeasured) and found.loses_trial else None

    @property
    def measured(self) -> tuple[Measurement, ...]:
        """Measurements of the configs that could be measured."""
        return tuple(trial.found for trial in self.trials if isinstance(trial.found, Measurement))

    @property
    def seconds(self) -> Interval | None:
        """Expected wall-clock time of the search in seconds, without confirmation; None if it cannot be estimated.

        Trials cost something between the default and the most expensive config. The low end assumes the default's cost
        for all trials, the high end the mean of both.
        """
        if self.estimate is None or not self.measured:
            return None
        default = self.measured[0].seconds_per_iteration
        more = max(one.seconds_per_iteration for one in self.measured) - default
        starts = _RAY_START_S + _TRIAL_START_S * num_startable(self.spec, self.spec.search.trials) / self.concurrent
        elapsed = self.estimate.elapsed
        return Interval(
            elapsed.low * default + starts,
            elapsed.median * (default + more / 4) + starts,
            elapsed.high * (default + more / 2) + starts,
        )

    def with_spec(self, spec: SearchSpec) -> "Check":
        """Return the check of the same search with another budget, based on the existing measurements."""
        config = spec.trainable.config_of(spec.config)
        knows = isinstance(config, HasReportIters) and callable(config.report_iters)
        report_iters = config.report_iters() if knows else None
        trials = tuple(replace(trial, found=_every(trial.found, report_iters)) for trial in self.trials)
        return replace(self, spec=spec, estimate=estimate_search(spec, concurrent=self.concurrent), trials=trials)

    @property
    def confirm_seconds(self) -> float:
        """Expected wall-clock time of the confirmation in seconds."""
        if self.estimate is None or not self.measured:
            return 0.0
        return self.estimate.confirm_elapsed * self.measured[0].seconds_per_iteration

    @property
    def peak_bytes(self) -> int | None:
        """Largest peak memory of a measured trial."""
        return max((one.peak_bytes for one in self.measured if one.peak_bytes), default=None)

    @property
    def on_gpu(self) -> bool:
        """True if the largest peak is GPU memory."""
        return any(one.on_gpu for one in self.measured)

    @property
    def fit_into_memory(self) -> int | None:
        """Number of trials with the largest peak that fit into memory together; None if no peak was measured."""
        if self.peak_bytes is None:
            return None
        if self.on_gpu and self.machine.gpu_memory_bytes is not None:
            return self.machine.gpus * (self.machine.gpu_memory_bytes // self.peak_bytes)
        return self.machine.free_bytes // self.peak_bytes

    @property
    def warning(self) -> str | None:
        """Warning with a fix if memory is not enough; None otherwise."""
        fit, peak = self.fit_into_memory, self.peak_bytes
        if fit is None or peak is None:
            return None
        limit = self.spec.resources.memory_bytes
        if limit is not None and peak > limit:
            return self._beyond_limit(limit, peak)
        if fit >= self.concurrent:
            return None
        there = "the GPUs have" if self.on_gpu else "the machine has free"
        room = self.machine.gpus * (self.machine.gpu_memory_bytes or 0) if self.on_gpu else self.machine.free_bytes
        trials = counted(self.concurrent, "trial takes", "trials at a time take")
        what = f"{trials} {gigabytes(self.concurrent * peak)} of memory, more than {there} ({gigabytes(room)})"
        if fit == 0:
            return f"{what}; not even one fits: use smaller batches, crops or networks"
        return f"{what}; set resources.concurrent to {fit}, or use smaller batches, crops or networks"

    def _beyond_limit(self, limit: int, peak: int) -> str:
        """Return a warning about measured trials that exceed `resources.memory_gb`, with a fix."""
        first = self.trials[0].found
        first_peak = first.peak_bytes if isinstance(first, Measurement) else None
        there = f"more than resources.memory_gb allows ({gigabytes(limit)})"
        if first_peak is None or first_peak <= limit:
            what = f"a trial takes {gigabytes(peak)}, {there}: the search ends such trials as infeasible"
            return f"{what}; raise it, or use smaller batches, crops or networks"
        whose = "the default config" if self.spec.trainable.config_model is not None else "the first config"
        what = f"{whose} takes {gigabytes(first_peak)}, {there}: its trial will end as infeasible, without a score"
        return f"{what}; raise it, or set a smaller batch, crop or network in config"


def _every(found: Measurement | NotMeasured, report_iters: int | None) -> Measurement | NotMeasured:
    """Return the measurement with reports `report_iters` iterations apart."""
    if report_iters is None or isinstance(found, NotMeasured):
        return found
    return replace(found, cost=found.cost._replace(iterations_per_report=report_iters))


def check_search(spec: SearchSpec, *, timeout_s: float = MEASURED_FOR_S) -> Check:
    """Check a search and measure the cost of its trials.

    Raises:
        InputError: the data, the choices, the earlier results to start from or the resources have faults, or the first
            iterations of a trial fail.
    """
    machine = this_machine()
    faults: list[Fault] = []
    spec, notices = on_this_machine(spec)
    try:
        notices += preflight(spec)
    except InputError as error:
        faults += error.faults
    fitting = num_fitting(spec.resources, cpus=machine.cpus, gpus=machine.gpus)
    if fitting < 1:
        asked = f"a trial asks for {spec.resources.cpu:g} CPU and {spec.resources.gpu:g} GPU, but this machine has "
        asked += f"{machine.cpus:g} CPU and {machine.gpus} GPU"
        faults.append(Fault("resources", asked, "ask for less in resources.cpu and resources.gpu"))
    if faults:
        raise InputError(faults)
    wish = spec.resources.concurrent
    concurrent = fitting if wish == "auto" else min(int(wish), fitting)
    target: Any = spec.trainable.target
    if notice := concurrency_notice(spec.resources, concurrent):
        notices.append(notice)
    check = Check(
        spec=spec,
        notices=tuple(notices),
        data=target.describe_data(spec.trainable.config_of(spec.config)) if isinstance(target, DescribesData) else None,
        machine=machine,
        concurrent=concurrent,
        estimate=estimate_search(spec, concurrent=concurrent),
        trials=(),
    )
    return replace(check, trials=_measured_trials(spec, concurrent, timeout_s))


def _measured_trials(spec: SearchSpec, concurrent: int, timeout_s: float) -> tuple[MeasuredTrial, ...]:
    has_default = spec.trainable.config_model is not None
    first = {} if has_default else suggest(spec, History(), 0) or {}
    chosen = [first, *dearest(spec)]
    repeated = chosen * 2 if len(chosen) == 1 and concurrent > 1 else chosen  # side by side, as in the search
    configs = [spec.trial_config(values) for values in repeated]
    is_own = spec.trainable.name == DEFAULT_TRAINABLE
    found = measure(spec, configs, side_by_side=concurrent, timeout_s=timeout_s)
    faults = [
        Fault(
            _place(spec, values),
            f"the first iterations fail: {one.reason}",
            "change these values, or keep them out of the space"
            if is_own
            else "correct the trainable, or keep these values out of the space",
        )
        for values, one in zip(repeated, found, strict=True)
        if isinstance(one, NotMeasured) and one.is_fault
    ]
    if faults:
        raise InputError(list(dict.fromkeys(faults)))
    return tuple(MeasuredTrial(values, one) for values, one in zip(chosen, found, strict=False))


def _place(spec: SearchSpec, values: Mapping[str, Any]) -> str:
    told = ", ".join(f"{path}={value}" for path, value in values.items())
    return f"trainable: {spec.trainable.name}" + (f" ({told})" if told else "")


def dearest(spec: SearchSpec) -> list[dict[str, Any]]:
    """Return the searched values of the configs with the largest memory estimates, one for every kind of network.

    The list is empty if all configs have the same estimate or none.
    """
    default = spec.memory_estimate({})
    if default is None:
        return []
    kinds: dict[str, dict[str, Any]] = {default[0]: {}}
    for parameter in spec.parameters_in_order:
        if isinstance(parameter.distribution, CategoricalDistribution):
            for _, choice in probes(parameter.distribution):
                values = _with(spec, {}, parameter, choice)
                estimate = spec.memory_estimate(values)
                if estimate is not None and spec.allows(values):
                    kinds.setdefault(estimate[0], values)
    corners = [_enlarged(spec, name, values) for name, values in kinds.items()]
    return [values for values in corners if values][:_MAX_CORNERS]


def _enlarged(spec: SearchSpec, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return values that need the most memory within one kind of network, changing one searched value after another."""
    most = spec.memory_estimate(values)
    assert most is not None
    for parameter in spec.parameters_in_order:
        for _, value in probes(parameter.distribution):
            larger = _with(spec, values, parameter, value)
            estimate = spec.memory_estimate(larger)
            if estimate is not None and estimate[0] == name and estimate[1] > most[1] and spec.allows(larger):
                values, most = larger, estimate
    return values


def _with(spec: SearchSpec, values: Mapping[str, Any], parameter: Parameter, value: Any) -> dict[str, Any]:
    return with_gates_open(values, parameter, value, spec.parameters_in_order, spec.config)
