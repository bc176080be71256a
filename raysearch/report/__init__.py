"""Report page of a search: panels, each with a half that computes its facts and a half that draws them."""

from raysearch.report.page import write_report

__all__ = ["write_report"]
