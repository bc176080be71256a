"""The section `track` of a space file: where else a search is to be recorded."""

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import AfterValidator

from raysearch.config.sections import Section


def _installed(library: str) -> AfterValidator:
    """A fault where the library that a setting needs is not there."""

    def check(value: str) -> str:
        if find_spec(library) is None:
            raise ValueError(f"{library} is not installed; pip install 'raysearch[{library}]'")
        return value

    return AfterValidator(check)


def _is_address(value: str) -> str:
    if not value.startswith(("http://", "https://", "sqlite:///", "file:///", "databricks")):
        raise ValueError(f"{value!r} is no address; give a server's, such as http://127.0.0.1:5000, or sqlite:////FILE")
    return value


class TrackSettings(Section):
    """Trackers of experiments that get every trial as a run of its own; none unless named."""

    mlflow: Annotated[str, AfterValidator(_is_address), _installed("mlflow")] | None = None
    """Tracking address of MLflow, such as `http://127.0.0.1:5000`; runs go to the experiment of the search's name."""
    wandb: Annotated[Literal["online", "offline"], _installed("wandb")] | None = None
    """Weights & Biases: `offline` writes to the run's folder, for `wandb sync`; `online` sends at once. Runs go to the
    project of the search's name, grouped by the run's folder."""
