"""The plain sections of a space file as typed models: objective, search, scheduler, resources."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, create_model

from raysearch.config.sections import Count, NotBool, Section
from raysearch.config.strict_yaml import kind_of
from raysearch.config.values import show
from raysearch.space.confirm_settings import ConfirmSettings
from raysearch.space.sampler_loading import is_reference
from raysearch.space.track_settings import TrackSettings
from trainables.protocol import Dialect


def _grantable(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError(f"{value:g} is above 1 but not a whole number, which Ray does not support; give {int(value)}")
    return value


def _switch(value: Any) -> Any:
    return ({} if value else None) if isinstance(value, bool) else value


def _as_several(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list | tuple):
        raise ValueError(f"{show(value)} is {kind_of(value)}; give a path, or a list of paths")
    return value


def _reference(value: str) -> str:
    if not is_reference(value):
        raise ValueError("the name of a sampler, such as optuna.samplers.QMCSampler or my_sampler.py:MySampler")
    return value


class Objective(Section):
    """The metric by which trials are compared."""

    metric: str
    """A number that the trainable reports, an entry of a list that it reports, such as `iou.road`, or
    `peak_memory_bytes`, which is measured around every trial.
    """
    mode: Literal["max", "min"]
    """`max` if a larger value is better, `min` if a smaller one is."""


class SearchSettings(Section):
    """Settings of the search: how configs are proposed, how many, and from which sources."""

    algorithm: (
        Literal["tpe", "random", "qmc", "grid", "cmaes", "gp", "nsga2", "curve_gp", "auto"]
        | Annotated[str, AfterValidator(_reference), WithJsonSchema({"type": "string", "pattern": "[.:]"})]
    ) = "auto"
    """`auto`: `curve_gp` and `tpe` by turns, or `tpe` alone with several objectives. Text with a dot or a colon names
    the class of a sampler: `optuna.samplers.QMCSampler`, `package.module:Class`, `file.py:Class`.
    """
    algorithm_args: dict[str, Any] = {}
    """Keyword arguments of that class. If it takes a `seed` and none is given, every proposal gets one of its own."""
    trials: Count = 32
    """Number of trials, the default config included."""
    seed: Annotated[int, Field(ge=0), NotBool] = 0
    """Seed of the proposals. The seed of training is `train.seed` of the config."""
    warm_start: Annotated[
        tuple[str, ...], BeforeValidator(_as_several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Folders of earlier runs, tables of notes (CSV, Parquet) and config files from which the search starts; see
    `raysearch/search/warm_start.py`.
    """
    first_points: Annotated[int, Field(ge=0), NotBool] = 5
    """Number of configs from `warm_start` without a score that are tried before any proposal."""
    confirm: Annotated[
        ConfirmSettings | None, BeforeValidator(_switch, json_schema_input_type=bool | ConfirmSettings | None)
    ] = None
    """Settings of a confirmation after the search has finished; `true` uses the defaults, `false` means none."""


class SchedulerSettings(Section):
    """Settings of early stopping; each scheduler is a file of `raysearch/schedulers`, which names its source."""

    name: Literal["asha", "hyperband", "pasha", "median", "none"] = "asha"
    """`asha`: asynchronous successive halving (arXiv 1810.05934); `hyperband`: several of them with different first
    rungs (arXiv 1603.06560); `pasha`: adds rungs as long as the order of the trials changes (arXiv 2207.06940);
    `median`: stops trials that are worse than the median of the others so far; `none`: every trial gets its full
    budget.
    """
    form: Literal["stopping", "promotion"] = "stopping"
    """Treatment of trials that are not among the best at a rung of `asha`: `stopping` stops them for good; `promotion`
    pauses them and resumes them from their checkpoints once they are among the best.
    """
    grace_iters: Count | Literal["auto"] | None = None
    """Iterations of the first rung, before which no trial is stopped. `auto` (`asha` in its stopping form only): there
    are no rungs; a trial is stopped at any report if the completed trials show that it has fallen too far behind.
    Absent: `auto` for `asha` in its stopping form by the first objective; otherwise after the warm-up, so that three
    rungs fit.
    """
    pilot_trials: Annotated[int, Field(ge=5), NotBool] = 6
    """Trials that must reach the full budget before `auto` stops any."""
    reduction_factor: Annotated[int, Field(ge=2), NotBool] = 3
    """One in this many trials passes a rung, and the next rung is at this many times the iterations. With `auto`, the
    best one in this many trials is never stopped, and another is stopped if a new trial is this many times more likely
    to become the best. The median rule has no rungs and only uses it to derive an absent `grace_iters`.
    """
    slack: Annotated[float, Field(ge=0), NotBool] | Literal["auto"] = 0.0
    """Distance to the last trial that passes a rung within which another trial also continues, in units of the metric.
    `auto`: one standard error of their difference, if trials report `METRIC_draws`. The median rule does not use it.
    """
    max_iters: Count | None = None
    """Full budget in iterations; absent: that of the config."""
    by: Literal["first", "nondominated_rank"] = "first"
    """Criterion by which a rung of `asha` ranks trials with several objectives: the first objective alone, or the
    non-dominated rank.
    """
    audit_fraction: Annotated[float, Field(ge=0, le=1), NotBool] = 0.05
    """Share of trials, drawn with the seed, that continue past every stop, so that early stopping can be audited."""

    @property
    def is_learned(self) -> bool:
        """True if completed trials determine which trials are stopped (`grace_iters: auto`)."""
        is_default = (self.name, self.form, self.by) == ("asha", "stopping", "first")
        return self.grace_iters == "auto" or (self.grace_iters is None and is_default)

    def unused(self) -> dict[str, str]:
        """Return the settings that the scheduler does not use, each with the reason."""
        reasons: dict[str, str] = {}
        if not self.is_learned:
            reasons["pilot_trials"] = "scheduler.grace_iters is not auto"
        if self.name == "median" and self.grace_iters is not None:
            reasons["reduction_factor"] = "scheduler.name is median, which has no rungs"
        if self.name == "none":
            names = ("grace_iters", "pilot_trials", "reduction_factor", "audit_fraction")
            reasons |= dict.fromkeys(names, "scheduler.name is none, so no trial is stopped")
        return reasons


class DialectReference(Section):
    """A file of another program as the config, with the flags of its scripts."""

    flags: str | list[str] = ""
    """The flags as on a command line, or a list of its words."""


def reference_model(dialect: Dialect) -> type[DialectReference]:
    """Return the model of a reference to a file of a dialect, which names the file under the dialect's name."""
    file: Any = (str, Field(description="Path of the file."))
    return create_model(
        f"{dialect.name.capitalize()}Reference",
        __base__=DialectReference,
        __doc__=f"A JSON file of {dialect.programs} as the config, with the flags of its scripts.",
        **{dialect.name: file},
    )


class ResourceSettings(Section):
    """Resources of one trial, and the number of trials that run at a time."""

    cpu: Annotated[float, Field(gt=0), AfterValidator(_grantable), NotBool] = 1.0
    """CPUs of one trial, and its number of threads; above 1 a whole number."""
    gpu: Annotated[float, Field(ge=0), AfterValidator(_grantable), NotBool] = 0.0
    """GPUs of one trial; with 0.5 two trials share one. Above 1 a whole number."""
    concurrent: Literal["auto"] | Count = "auto"
    """Number of trials that run at a time; `auto`: as many as fit on the machines."""
    memory_gb: Annotated[float, Field(gt=0), NotBool] | None = None
    """Memory limit of one trial in GB of 2^30 bytes: of its GPU, or of the machine for a CPU-only trial. A trial that
    exceeds it ends as infeasible. Absent: no limit, and the search expects that a trial can use its share of the
    memory.
    """

    @property
    def num_threads(self) -> int:
        """Number of threads of one trial."""
        return max(1, int(self.cpu))

    @property
    def memory_bytes(self) -> int | None:
        """The limit in bytes; None if there is none."""
        return None if self.memory_gb is None else int(self.memory_gb * 2**30)


SECTIONS: dict[str, type[Section]] = {
    "objective": Objective,
    "search": SearchSettings,
    "scheduler": SchedulerSettings,
    "resources": ResourceSettings,
    "track": TrackSettings,
}
KEYS = ("name", "trainable", "config", "space", "constraints", *SECTIONS)
