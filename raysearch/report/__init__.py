"""One page that tells what a search found: panels, each with an info half and a figure half."""

from raysearch.report.page import write_report

__all__ = ["write_report"]
