"""Notebook view of a running search: the block of the terminal, redrawn in one output of its cell."""

import io
import sys
import time
import uuid
from typing import Any

from rich.console import Console

from raysearch.observers import Lines
from raysearch.observers.live_view import Screen, view
from raysearch.search.run import Run

_WIDTH, _HEIGHT = 100, 40
"""Columns and rows of the block."""
_PAGE = '<pre style="line-height: normal; overflow-x: auto">{code}</pre>'


def is_notebook() -> bool:
    """Return True if this process is the kernel of a notebook."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")


class NotebookView(Screen):
    """A view that prints lines as they come and keeps one output up to date."""

    name = "the notebook view"

    def __init__(self) -> None:
        """Create a view that writes into the running cell."""
        super().__init__()
        self._display_id = f"raysearch-{uuid.uuid4().hex}"
        self._is_shown = False

    def say(self, line: str) -> None:
        """Print one line."""
        print(line)

    def begin(self, run: Run) -> None:
        """Show the block."""
        Lines.begin(self, run)
        self._begin_counting(run.spec, run.history)
        self._draw(self._began)

    def begin_confirmation(self, run: Run) -> None:
        """Show the block for the trainings."""
        self._begin_counting(run.spec, run.history)
        self._draw(self._began)

    def _draw(self, now: float) -> None:
        from IPython.display import display, update_display

        self._drawn = now
        progress = self._count.progress()
        console = Console(file=io.StringIO(), record=True, width=_WIDTH, force_jupyter=False, force_terminal=True)
        console.print(view(progress, now - self._began, self._left(progress, now), _WIDTH, _HEIGHT))
        block = {
            "text/html": console.export_html(code_format=_PAGE, inline_styles=True, clear=False),
            "text/plain": console.export_text(),
        }
        show = update_display if self._is_shown else display
        show(block, raw=True, display_id=self._display_id)  # type: ignore[no-untyped-call]
        self._is_shown = True

    def rest(self) -> None:
        """Draw the final state of the block, which stays."""
        self._draw(time.time())

    def end(self) -> None:
        """Do nothing: there is no terminal to release."""
