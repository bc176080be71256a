"""The part of plotly.js that the page holds; `plotly/README.md` says which it is and why."""

from functools import cache
from pathlib import Path

TRACES = frozenset({"scatter", "bar", "contour"})
"""Kinds of traces that panels draw, all in the bundle."""


@cache
def plotly_js() -> str:
    """The script, as the page holds it once."""
    return (Path(__file__).parent / "plotly" / "plotly-cartesian.min.js").read_text(encoding="utf-8")
