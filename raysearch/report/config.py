"""Panel: the best config, for copying."""

import json
from dataclasses import dataclass

from raysearch.report.parts import Code, Part, Text
from raysearch.report.view import SearchView


@dataclass(frozen=True)
class ConfigInfo:
    """Whole config of the winner."""

    document: str
    """Text of `best_config.json`, character by character."""


def config_info(view: SearchView) -> ConfigInfo | None:
    """Return the best config; None before the first report."""
    return None if view.best is None else ConfigInfo(json.dumps(view.best, indent=2))


def config_parts(info: ConfigInfo | None) -> list[Part]:
    """Return the config as text to copy."""
    if info is None:
        return [Text("There is no best config yet, because no trial has reported.")]
    return [
        Text("The complete best_config.json. `train`, `evaluate` and `predict` take this file."),
        Code(info.document),
    ]


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return config_parts(config_info(view))
