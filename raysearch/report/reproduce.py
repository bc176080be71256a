"""Panel: the best config, and how to train it again."""

import json
from dataclasses import dataclass

from raysearch.report.parts import Code, Part, Text
from raysearch.report.view import SearchView


@dataclass(frozen=True)
class ReproduceInfo:
    """What the winner was made of."""

    commands: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    """Package and version."""
    config: str
    """`best_config.json`, letter by letter."""


def reproduce_info(view: SearchView) -> ReproduceInfo | None:
    """The best config, the versions and the commands; None before the first report."""
    if view.best is None:
        return None
    return ReproduceInfo(
        commands=view.commands,
        versions=tuple(view.best["raysearch"]["versions"].items()),
        config=json.dumps(view.best, indent=2),
    )


def reproduce_parts(info: ReproduceInfo | None) -> list[Part]:
    """Commands, versions and config as text to copy."""
    if info is None:
        return [Text("There is no best config before the first report.")]
    parts: list[Part] = []
    if info.commands:
        parts += [Text("Train the best config to its full budget, or score its checkpoint:")]
        parts += [Code("\n".join(info.commands))]
    parts += [Text("Versions:"), Code("\n".join(f"{package} {version}" for package, version in info.versions))]
    return [*parts, Code(info.config, summary="best_config.json")]


def panel(view: SearchView) -> list[Part]:
    """The best config, and how to train it again."""
    return reproduce_parts(reproduce_info(view))
