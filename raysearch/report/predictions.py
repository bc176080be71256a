"""Panel: predictions of the winner and of the default config for the same examples, as written by the trainable."""

import base64
from dataclasses import dataclass
from pathlib import Path

from raysearch.report.parts import Legend, Part, Picture, Pictures, Text
from raysearch.report.view import SearchView
from raysearch.results.predictions import Predictions

_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


@dataclass(frozen=True)
class PredictionsInfo:
    """The part of `predictions/` that is shown."""

    predictions: Predictions


def predictions_info(view: SearchView) -> PredictionsInfo | None:
    """Return the predictions; None if nothing was predicted."""
    return None if view.predictions is None else PredictionsInfo(view.predictions)


def predictions_parts(info: PredictionsInfo | None) -> list[Part]:
    """Return a row of pictures per example, and the meaning of the colours; nothing if nothing was predicted."""
    if info is None:
        return []
    folder, panel = info.predictions.folder, info.predictions.panel
    if info.predictions.problem is not None:
        return [Text(f"No predictions could be made: {info.predictions.problem}.")]
    rows = [
        Pictures(row.title, tuple(Picture(_data(folder / one.file), one.caption, one.is_sharp) for one in row.pictures))
        for row in panel.rows
    ]
    return [Text(panel.text), *([Legend(panel.legend)] if panel.legend else []), *rows]


def _data(path: Path) -> str:
    return f"data:{_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return predictions_parts(predictions_info(view))
