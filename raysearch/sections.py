"""Sections of a space file as typed, frozen models: numbers are numbers, unknown keys are faults."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from raysearch.faults import FaultList, Place
from raysearch.strict_yaml import kind_of
from raysearch.trial_config import explain, show

_S = TypeVar("_S", bound="Section")


class Section(BaseModel):
    """What every section of a space file shares."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{show(value)} is a truth value, not a number; give a number")
    return value


NotBool = BeforeValidator(_not_bool)
"""Comes last: bounds that follow it would hold, but be missing from the schema."""
Float = Annotated[float, NotBool]
Int = Annotated[int, NotBool]
Count = Annotated[int, Field(ge=1), NotBool]


def read_section(value: Any, place: Place, model: type[_S], faults: FaultList) -> _S | None:
    """The section at a place of the document (an absent one is all defaults), or nothing where it breaks a rule."""
    if value is None:
        value = {}
    if not isinstance(value, dict):
        faults.add(place, f"is {kind_of(value)}", f"it must be a mapping of {', '.join(model.model_fields)}")
        return None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for breach in explain(error, model, value):
            faults.add((*place, *breach.place), breach.what, breach.fix)
        return None
