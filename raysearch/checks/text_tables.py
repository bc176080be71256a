"""Tables for a terminal, which wrap text on a narrow one instead of cutting it off."""

from rich.markup import escape
from rich.table import Table

from trainables.protocol import TextTable

_WIDEST_NUMBER = 6
"""Number of characters of the widest number in most tables; on a narrow terminal, texts are wrapped first."""


def folding_table(*columns: str) -> Table:
    """Return an empty table whose columns wrap their text."""
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def table_of(given: TextTable) -> Table:
    """Return a table that a trainable gives."""
    table = folding_table(*map(escape, given.header[: given.num_text_columns]))
    for column in given.header[given.num_text_columns :]:
        table.add_column(escape(column), justify="right", no_wrap=True, min_width=_WIDEST_NUMBER)
    for row in given.rows:
        table.add_row(*map(escape, row))
    return table
