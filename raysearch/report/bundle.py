"""The part of plotly.js that the page contains; `plotly/README.md` says which part and why."""

from functools import cache
from pathlib import Path

TRACES = frozenset({"scatter", "bar", "contour"})
"""Kinds of traces that panels draw. All of them are in the bundle."""


@cache
def plotly_js() -> str:
    """Return the script, which the page contains once."""
    return (Path(__file__).parent / "plotly" / "plotly-cartesian.min.js").read_text(encoding="utf-8")
