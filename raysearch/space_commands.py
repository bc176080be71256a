"""The commands about space files themselves: which are shipped, what one may hold, what becomes one."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from raysearch import console
from raysearch.errors import Fault, InputError

app = typer.Typer()


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(help="Print this one, to begin from.", show_default=False)] = None,
) -> None:
    """List the space files that are shipped; `run NAME` takes each."""
    from raysearch.shipped_spaces import shipped_spaces, summary
    from raysearch.trial_config import nearest

    shipped = shipped_spaces()
    if name is None:
        table = Table("name", "what it searches")
        for stem, path in shipped.items():
            table.add_row(escape(stem), escape(summary(path)))
        console.out.print(table)
    elif name in shipped:
        print(shipped[name].read_text(encoding="utf-8"), end="")
    else:
        raise InputError([Fault(f"spaces {name}", "no such space file is shipped", nearest(name, shipped))])
