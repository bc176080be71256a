"""The section `track` of a space file: the experiment trackers that record a search."""

from importlib.util import find_spec
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator

from raysearch.config.sections import Section


def _installed(library: str) -> AfterValidator:
    """Return a validator that rejects a value if the library that it needs is not installed."""

    def check(value: str) -> str:
        if find_spec(library) is None:
            raise ValueError(f"{library} is not installed; pip install 'raysearch[{library}]'")
        return value

    return AfterValidator(check)


def _is_address(value: str) -> str:
    if not value.startswith(("http://", "https://", "sqlite:///", "file:///", "databricks")):
        raise ValueError(
            f"{value!r} is not an address; give that of a server, such as http://127.0.0.1:5000, or sqlite:////FILE"
        )
    if "@" in urlsplit(value).netloc:
        raise ValueError(
            "holds a user name or a password, which every copy of the space file would show; set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment instead"
        )
    return value


class TrackSettings(Section):
    """Experiment trackers that record every trial as a run; none by default."""

    mlflow: Annotated[str, AfterValidator(_is_address), _installed("mlflow")] | None = None
    """Tracking address of MLflow, such as `http://127.0.0.1:5000`; the experiment has the name of the search."""
    wandb: Annotated[Literal["online", "offline"], _installed("wandb")] | None = None
    """Weights & Biases: `offline` writes to the run's folder, for `wandb sync`; `online` uploads at once. Runs belong
    to the project of the search's name, grouped by the run's folder.
    """
