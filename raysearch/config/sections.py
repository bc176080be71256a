"""Sections of a space file as typed, frozen models that reject unknown keys."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from raysearch.config.breaches import explain
from raysearch.config.faults import FaultList, Place
from raysearch.config.strict_yaml import kind_of
from raysearch.config.values import show

_S = TypeVar("_S", bound="Section")


class Section(BaseModel):
    """Base class of all sections of a space file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{show(value)} is a truth value, not a number; give a number")
    return value


NotBool = BeforeValidator(_not_bool)
"""Validator that rejects truth values; it comes last, because bounds after it would be missing from the JSON Schema."""
Float = Annotated[float, NotBool]
Int = Annotated[int, NotBool]
Count = Annotated[int, Field(ge=1), NotBool]


_NAMES_ELSEWHERE = {
    **dict.fromkeys(("num_samples", "n_trials", "run_cap"), "search.trials"),
    **dict.fromkeys(("max_concurrent", "max_concurrent_trials", "n_jobs"), "resources.concurrent"),
    "grace_period": "scheduler.grace_iters",
    "max_t": "scheduler.max_iters",
    "sampler": "search.algorithm",
}
"""Names of settings in a space file by their names in Ray Tune, Optuna or W&B, which no section uses as field names."""


def read_section(value: Any, place: Place, model: type[_S], faults: FaultList) -> _S | None:
    """Return the section at a place of the document, with all defaults if it is absent; None if it has faults."""
    if value is None:
        value = {}
    if not isinstance(value, dict):
        faults.add(place, f"is {kind_of(value)}", f"it must be a mapping of {', '.join(model.model_fields)}")
        return None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for breach in explain(error, model, value):
            here = _NAMES_ELSEWHERE.get(breach.place[-1]) if breach.place else None
            faults.add((*place, *breach.place), breach.what, f"it is {here} here" if here is not None else breach.fix)
        return None
