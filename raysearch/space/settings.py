"""The sections of a space file that are plain settings, as typed models: what is searched for, how, and with what."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from raysearch.config.sections import Count, NotBool, Section
from raysearch.config.strict_yaml import kind_of
from raysearch.config.values import show
from raysearch.space.confirm_settings import ConfirmSettings
from raysearch.space.sampler_loading import is_reference
from raysearch.space.track_settings import TrackSettings

DEFAULT_TRAINABLE = "trainables.contrastive_segmentation:ContrastiveSegmentation"


def _grantable(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError(f"{value:g} is above 1 and not whole, which Ray does not grant; give {int(value)}")
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
    """What makes one trial better than another."""

    metric: str
    """A number that the trainable reports, an entry of a list that it reports, such as `iou.road`, or
    `peak_memory_bytes`, which is measured around every trial."""
    mode: Literal["max", "min"]
    """Whether a larger value is the better one, or a smaller one."""


class SearchSettings(Section):
    """How configs are proposed, and how many."""

    algorithm: (
        Literal["tpe", "random", "qmc", "grid", "cmaes", "gp", "nsga2", "curve_gp", "auto"]
        | Annotated[str, AfterValidator(_reference), WithJsonSchema({"type": "string", "pattern": "[.:]"})]
    ) = "auto"
    """`auto`: `curve_gp`, or `tpe` where there are several objectives. Text with a dot or a colon names the class of a
    sampler: `optuna.samplers.QMCSampler`, `package.module:Class`, `file.py:Class`."""
    algorithm_args: dict[str, Any] = {}
    """Keyword arguments of that class. Where it takes a `seed` and none is given, every proposal gets one of its
    own."""
    trials: Count = 32
    """How many trials are started, the default config among them."""
    seed: Annotated[int, Field(ge=0), NotBool] = 0
    """Seed of the proposals; that of the trainings is the config's own (`train.seed`)."""
    warm_start: Annotated[
        tuple[str, ...], BeforeValidator(_as_several, json_schema_input_type=str | tuple[str, ...])
    ] = ()
    """Folders of earlier runs, tables of notes (CSV, Parquet) and config files that the search begins with; see
    `raysearch/search/warm_start.py`."""
    first_points: Annotated[int, Field(ge=0), NotBool] = 5
    """Of the points that `warm_start` holds without evidence, so many are tried before anything is proposed."""
    confirm: Annotated[
        ConfirmSettings | None, BeforeValidator(_switch, json_schema_input_type=bool | ConfirmSettings | None)
    ] = None
    """Confirm a finished search at once, and how; `true` is as every default says, `false` is not at all."""


class SchedulerSettings(Section):
    """Whether and when trials are stopped early; each rule is a file of `raysearch/schedulers`, with its source."""

    name: Literal["asha", "hyperband", "pasha", "median", "none"] = "asha"
    """`asha`: successive halving without waiting (arXiv 1810.05934); `hyperband`: several of them with first rungs of
    their own (arXiv 1603.06560); `pasha`: rungs are added as long as the order changes (arXiv 2207.06940); `median`:
    what is worse than the median of the others so far; `none`: every trial gets its full budget."""
    form: Literal["stopping", "promotion"] = "stopping"
    """What a rung of `asha` does with a trial that it does not let on: stops it for good, or pauses it, to take it up
    again from its checkpoint once it is among the best."""
    grace_iters: Count | Literal["auto"] | None = None
    """Iterations of the first rung, before which no trial is stopped; `auto`: where the order of the first trials
    begins to foretell their final one; absent: `auto` for `asha` by the first objective, else so that three rungs fit,
    but beyond the warm-up."""
    pilot_trials: Annotated[int, Field(ge=5), NotBool] = 6
    """Trials that must have reached the full budget before `auto` tells; until then none is stopped."""
    reduction_factor: Annotated[int, Field(ge=2), NotBool] = 3
    """One trial in so many passes a rung, and the next rung lies so many times further. The median rule has no rungs:
    there it only says where an absent `grace_iters` lies."""
    slack: Annotated[float, Field(ge=0), NotBool] | Literal["auto"] = 0.0
    """How far behind the last trial that a rung lets on another still goes on, in units of the metric; `auto`: one
    standard error of their difference, where trials report `METRIC_draws`. The median rule has none."""
    max_iters: Count | None = None
    """The full budget; absent: the config's own."""
    by: Literal["first", "nondominated_rank"] = "first"
    """With several objectives: whether a rung of `asha` judges by the first alone, or by who dominates whom in all."""
    audit_fraction: Annotated[float, Field(ge=0, le=1), NotBool] = 0.05
    """The share of trials, drawn from the seed, that are let through past every stop to keep the rung audit honest."""

    @property
    def finds_first_rung(self) -> bool:
        """Whether pilot trials show where the first rung lies."""
        return self.grace_iters == "auto" or (self.grace_iters is None and self.name == "asha" and self.by == "first")

    def unused(self) -> dict[str, str]:
        """Return the settings that the rule does not use, with the reason."""
        reasons: dict[str, str] = {}
        if not self.finds_first_rung:
            reasons["pilot_trials"] = "scheduler.grace_iters is not auto"
        if self.name == "median" and self.grace_iters is not None:
            reasons["reduction_factor"] = "scheduler.name is median, which has no rungs"
        if self.name == "none":
            names = ("grace_iters", "pilot_trials", "reduction_factor", "audit_fraction")
            reasons |= dict.fromkeys(names, "scheduler.name is none: no trial is stopped")
        return reasons


class OpensegReference(Section):
    """A JSON file of openseg or ContrastiveSeg as the config, with the flags that its scripts give beside it."""

    openseg: str
    """The file."""
    flags: str | list[str] = ""
    """The flags as on a command line, or its words one by one."""


class ResourceSettings(Section):
    """What one trial occupies, and how many run at a time."""

    cpu: Annotated[float, Field(gt=0), AfterValidator(_grantable), NotBool] = 1.0
    """CPUs of one trial, which are also its threads; above 1 a whole number."""
    gpu: Annotated[float, Field(ge=0), AfterValidator(_grantable), NotBool] = 0.0
    """GPUs of one trial; 0.5 lets two trials share one. Above 1 a whole number."""
    concurrent: Literal["auto"] | Count = "auto"
    """Trials at a time; `auto`: as many as the machines hold."""
    memory_gb: Annotated[float, Field(gt=0), NotBool] | None = None
    """Memory that one trial may take, of its GPU or without one of the machine, in GB of 2^30 bytes; a trial that takes
    more ends as infeasible. Absent: no limit, and the search expects a trial's share of what is there."""

    @property
    def memory_bytes(self) -> int | None:
        """The same in bytes."""
        return None if self.memory_gb is None else int(self.memory_gb * 2**30)


SECTIONS: dict[str, type[Section]] = {
    "objective": Objective,
    "search": SearchSettings,
    "scheduler": SchedulerSettings,
    "resources": ResourceSettings,
    "track": TrackSettings,
}
KEYS = ("name", "trainable", "config", "space", "constraints", *SECTIONS)
