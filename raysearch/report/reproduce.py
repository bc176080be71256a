"""Panel: how to train the best config again, and what it was found with."""

from dataclasses import dataclass

from raysearch.report.parts import Code, Part, Text
from raysearch.report.view import SearchView


@dataclass(frozen=True)
class ReproduceInfo:
    """Everything that determines the winner."""

    commands: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    """Each package and its version."""
    hashes: tuple[tuple[str, str], ...]
    """Each file of the run's folder and its SHA-256."""
    seed: int | None
    """Seed of all trainings; None if the config does not contain it."""
    num_threads: int | None
    """CPU threads of a training, which are part of its result; None if the config does not contain them."""


def reproduce_info(view: SearchView) -> ReproduceInfo | None:
    """Return commands, versions and hashes; None before the first report."""
    if view.best is None:
        return None
    return ReproduceInfo(
        commands=view.commands,
        versions=tuple(view.best["raysearch"]["versions"].items()),
        hashes=view.hashes,
        seed=view.best["raysearch"].get("seed"),
        num_threads=view.best["raysearch"].get("num_threads"),
    )


def reproduce_parts(info: ReproduceInfo | None) -> list[Part]:
    """Return commands, versions and hashes as text to copy."""
    if info is None:
        return [Text("There is no best config yet, because no trial has reported.")]
    parts: list[Part] = []
    if info.commands:
        score = ", or score its checkpoint" if len(info.commands) > 1 else ""
        parts += [Text(f"Train the best config to its full budget{score}:")]
        parts += [Code("\n".join(info.commands))]
    fixed = [("seed", info.seed), ("CPU threads", info.num_threads)]
    told = ", ".join(f"{name} {value}" for name, value in fixed if value is not None)
    parts += [Text(f"Versions{f', with {told}' if told else ''}:")]
    parts += [Code("\n".join(f"{package} {version}" for package, version in info.versions))]
    if info.hashes:
        parts += [Text("SHA-256 of the run's files:")]
        parts += [Code("\n".join(f"{digest}  {name}" for name, digest in info.hashes))]
    return parts


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return reproduce_parts(reproduce_info(view))
