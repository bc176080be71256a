"""Panel: the best trial beside the default config."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.history.events import Mode, Report, Status
from raysearch.history.history import TrialHistory
from raysearch.report.parts import MISSING, Fact, Facts, Part, Table, Text, shown
from raysearch.report.view import SearchView
from raysearch.results.confirmation import Difference, verdict
from raysearch.results.expectation import Expectation
from raysearch.space.confirm_settings import Split
from trainables.dotted_paths import ABSENT
from trainables.plurals import counted
from trainables.protocol import CONFIG_USED, DRAWS

_NAMED_BY_SCORE = (
    "The winner is the trial with the best score, because expected scores named no better configs in replayed "
    "searches. Whether it is better than others with new seeds is not known before `confirm`."
)


@dataclass(frozen=True)
class SearchedValue:
    """The values of the winner and the default at one searched path."""

    path: str
    distribution: BaseDistribution | None
    """Distribution of its values; None if no trial took the value from the space."""
    winner: Any
    """Winner's value; ABSENT if its condition did not hold."""
    default: Any


@dataclass(frozen=True)
class ReportedNumber:
    """One number that the winner reported, beside the default's."""

    name: str
    winner: float
    default: Any
    """Default's number; ABSENT if the default did not report it."""


@dataclass(frozen=True)
class ConfirmedScore:
    """One config that was retrained with new seeds."""

    trial: int
    is_default: bool
    selection: float | None
    """Score by which the search ranked it: the best report, with a single seed."""
    mean: float
    """Mean of the confirmed metric over the seeds, after the full budget."""
    val_mean: float
    """Mean on the validation images."""
    std: float | None
    """Standard deviation over the seeds; None for a single seed."""
    lead: Difference | None
    """Winner's score minus this one; None for the winner itself."""


@dataclass(frozen=True)
class WinnerInfo:
    """The winner's best report, and the default's best report beside it."""

    metric: str
    mode: Mode
    trial: int
    is_default: bool
    value: float
    iteration: int
    max_iters: int | None
    default_status: Status | None
    """Status of the default config's trial; None if the search has none."""
    default_value: float | None
    default_iteration: int | None
    values: tuple[SearchedValue, ...]
    numbers: tuple[ReportedNumber, ...]
    """All other numbers that the winner reported at its best iteration."""
    confirmed: tuple[ConfirmedScore, ...] = ()
    """Confirmed scores, the winner's first; empty if nothing was confirmed."""
    split: Split = "val"
    """Split whose images the confirmed scores are computed on."""
    seeds: tuple[int, ...] = ()
    """Seeds of the confirmed scores."""
    search_pick: int | None = None
    """Trial with the best selection score, if the confirmation prefers another."""
    expected: Expectation | None = None
    """Expected score of the winner's config, estimated from the other trials."""
    most_promising: Expectation | None = None
    """Best expected score, if it belongs to another trial."""
    broken: tuple[tuple[str, float], ...] = ()
    """Constraints on reported numbers that the winner breaks, with the amounts of violation."""
    passed_over: tuple[str, ...] = ()
    """Reasons why confirmed configs with a better mean are not the winner, one line each."""
    is_any_admissible: bool = True
    """True if at least one trial breaks no constraint."""

    @property
    def difference(self) -> float | None:
        """Winner's value minus the default's."""
        return None if self.default_value is None else self.value - self.default_value


def winner_info(view: SearchView) -> WinnerInfo | None:
    """Return the winner in numbers; None before the first report."""
    winner, default = view.winner, view.default
    best = winner.best(view.mode) if winner else None
    if winner is None or best is None:
        return None
    default_best = default.best(view.mode) if default else None
    pick = view.history.best_trial()
    return WinnerInfo(
        metric=view.metric,
        mode=view.mode,
        trial=winner.number,
        is_default=winner.is_default,
        value=best.value,
        iteration=best.iteration,
        max_iters=view.max_iters,
        default_status=default.status if default else None,
        default_value=default_best.value if default_best else None,
        default_iteration=default_best.iteration if default_best else None,
        values=tuple(_searched_value(path, view, winner, default) for path in view.paths),
        numbers=_numbers(best, default_best),
        confirmed=_confirmed(view),
        split=view.confirmation.split if view.confirmation else "val",
        seeds=view.confirmation.seeds if view.confirmation else (),
        search_pick=pick.number if pick is not None and pick is not winner else None,
        expected=next((e for e in view.expected if e.trial is winner), None),
        most_promising=view.expected[0] if view.expected and view.expected[0].trial is not winner else None,
        broken=tuple(winner.broken(view.mode).items()),
        passed_over=tuple(view.confirmation.passed_over()) if view.confirmation else (),
        is_any_admissible=any(view.history.is_admissible(trial) for trial in view.history.trials),
    )


def _confirmed(view: SearchView) -> tuple[ConfirmedScore, ...]:
    if view.confirmation is None:
        return ()
    scores = []
    for trial in view.confirmation.trials:
        searched = view.history.trials[trial.number]
        selection = searched.best(view.mode)
        scores.append(
            ConfirmedScore(
                trial=trial.number,
                is_default=searched.is_default,
                selection=selection.value if selection else None,
                mean=trial.mean,
                val_mean=trial.val_mean,
                std=trial.std,
                lead=view.confirmation.lead_over(trial),
            )
        )
    return tuple(scores)


def _searched_value(path: str, view: SearchView, winner: TrialHistory, default: TrialHistory | None) -> SearchedValue:
    known = (trial.distributions[path] for trial in view.history.trials if path in trial.distributions)
    return SearchedValue(
        path=path,
        distribution=next(known, None),
        winner=winner.values.get(path, ABSENT),
        default=default.values.get(path, ABSENT) if default else ABSENT,
    )


def _numbers(best: Report, default_best: Report | None) -> tuple[ReportedNumber, ...]:
    defaults = _flat(default_best.metrics) if default_best else {}
    return tuple(ReportedNumber(name, value, defaults.get(name, ABSENT)) for name, value in _flat(best.metrics).items())


def _flat(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return all numbers by name; those of a list by name and position.

    The config that a trainable reports back (`config_used`) is left out, and so are bootstrap draws.
    """
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if name.startswith(f"{CONFIG_USED}/") or name.endswith(DRAWS):
            continue
        for key, one in (
            ((f"{name}[{i}]", v) for i, v in enumerate(value)) if isinstance(value, list) else [(name, value)]
        ):
            if isinstance(one, int | float):
                flat[key] = one
    return flat


def winner_parts(info: WinnerInfo | None) -> list[Part]:
    """Return the winner as facts, sentences and tables."""
    if info is None:
        return [Text("No trial has reported a value yet.")]
    parts: list[Part] = [Facts(tuple(_confirmed_facts(info) if info.confirmed else _facts(info)))]
    if info.broken:
        listed = "; ".join(f"{text} (by {amount:.3g})" for text, amount in info.broken)
        none = "" if info.is_any_admissible else "No trial meets every constraint. "
        parts.append(Text(f"{none}The winner breaks {listed}."))
    if info.is_default:
        parts.append(Text("The default config, exactly as the space file gives it, is the best so far."))
    parts += _confirmed_parts(info) if info.confirmed else [Text(_NAMED_BY_SCORE)]
    if info.values:
        parts.append(_searched_table(info))
    if info.numbers:
        parts.append(_reported_table(info))
    return parts


def _searched_table(info: WinnerInfo) -> Table:
    rows = ((v.path, shown(v.winner), shown(v.default), _range(v.distribution)) for v in info.values)
    if info.default_status is not None:
        return Table(("searched value", "winner", "default", "range"), tuple(rows), text_columns=(0, 3))
    rows_without = tuple((path, winner, searched) for path, winner, _, searched in rows)
    return Table(("searched value", "winner", "range"), rows_without, text_columns=(0, 2))


def _reported_table(info: WinnerInfo) -> Table:
    summary = "All other metrics at the best iteration"
    if info.default_value is not None:
        rows = tuple((number.name, shown(number.winner), shown(number.default)) for number in info.numbers)
        return Table(("metric", "winner", "default"), rows, summary=summary)
    return Table(("metric", "winner"), tuple((n.name, shown(n.winner)) for n in info.numbers), summary=summary)


def _facts(info: WinnerInfo) -> list[Fact]:
    budget = f" of {info.max_iters}" if info.max_iters is not None else ""
    facts = [Fact(f"best {info.metric}", shown(info.value), f"trial {info.trial}, iteration {info.iteration}{budget}")]
    if info.expected is not None:
        facts.append(Fact("expected if retrained", *_expectation(info.expected)))
    if info.most_promising is not None:
        number = info.most_promising.trial.number
        facts.append(
            Fact(
                "highest expected score" if info.mode == "max" else "lowest expected score",
                shown(info.most_promising.mean),
                f"trial {number}; `confirm` retrains it too",
            )
        )
    if info.default_status is None:
        return facts
    if info.default_value is None:
        return [*facts, Fact("default", MISSING, f"trial 0 is {info.default_status} and reported no value")]
    status = "" if info.default_status == "completed" else f"; the trial is {info.default_status}"
    facts.append(Fact("default", shown(info.default_value), f"trial 0, iteration {info.default_iteration}{status}"))
    difference = info.difference
    assert difference is not None, "both values are known"
    if difference != 0.0:
        better = (difference > 0.0) == (info.mode == "max")
        facts.append(Fact("difference", f"{difference:+.4g}", f"{'better' if better else 'worse'} than the default"))
    return facts


def _confirmed_facts(info: WinnerInfo) -> list[Fact]:
    """Return selection score and confirmed score side by side."""
    budget = f" of {info.max_iters}" if info.max_iters is not None else ""
    best = info.confirmed[0]
    facts = [
        Fact(f"selection {info.metric}", shown(info.value), f"trial {info.trial}, iteration {info.iteration}{budget}"),
        Fact(
            f"confirmed {info.metric}{_of_images(info)}",
            _mean_and_std(best),
            f"trial {best.trial}, {_over_seeds(info)}",
        ),
    ]
    default = next((score for score in info.confirmed if score.is_default), None)
    if default is not None and default.lead is not None:
        facts.append(Fact("default, confirmed", _mean_and_std(default), f"trial {default.trial}, {_over_seeds(info)}"))
        facts.append(Fact("difference", f"{default.lead.mean:+.4g}", verdict(default.lead).partition(", ")[2]))
    return facts


def _confirmed_parts(info: WinnerInfo) -> list[Part]:
    """Return a table that compares each confirmed config with the winner."""
    explained = (
        f"A confirmed score is {info.metric}{_of_images(info)} at the end of a full training, {_over_seeds(info)} "
        f"({', '.join(map(str, info.seeds))}) that the search did not use. The winner has the best one. A selection "
        "score is the best of all reports of one trial."
    )
    if info.split == "test":
        explained += " The validation images rank the configs; the test images play no part in the choice."
    if len(info.seeds) > 1 and len(info.confirmed) > 2:
        explained += (
            f" The confidence intervals hold for all pairs of the {len(info.confirmed)} configs at once (Tukey), "
            "because the winner was chosen among them."
        )
    parts: list[Part] = [Text(explained)]
    if info.search_pick is not None:
        known = info.search_pick in {score.trial for score in info.confirmed}
        why = "" if known else " It was not confirmed; confirm again to compare it."
        parts.append(Text(f"By its selection score alone, trial {info.search_pick} would have won.{why}"))
    parts += [Text(f"{line[0].upper()}{line[1:]}.") for line in info.passed_over]
    on_test = info.split == "test"
    rows = tuple(
        (
            f"{score.trial}{' (default)' if score.is_default else ''}",
            MISSING if score.selection is None else shown(score.selection),
            *((shown(score.val_mean),) if on_test else ()),
            shown(score.mean),
            MISSING if score.std is None else shown(score.std),
            MISSING if score.lead is None else verdict(score.lead),
        )
        for score in info.confirmed
    )
    means = ("validation mean", "confirmed mean, test images") if on_test else ("confirmed mean",)
    header = ("trial", "selection score", *means, "standard deviation", "winner minus this config")
    return [*parts, Table(header, rows, text_columns=(0, len(header) - 1))]


def _of_images(info: WinnerInfo) -> str:
    return " on the test images" if info.split == "test" else ""


def _expectation(expectation: Expectation) -> tuple[str, str]:
    low, high = expectation.interval
    what = "95 % interval of the mean of three retrainings with new seeds"
    return f"{shown(expectation.mean)} ({shown(low)} to {shown(high)})", f"{what}, an estimate; `confirm` measures it"


def _mean_and_std(score: ConfirmedScore) -> str:
    return shown(score.mean) if score.std is None else f"{shown(score.mean)} ± {score.std:.2g}"


def _over_seeds(info: WinnerInfo) -> str:
    return f"mean over {counted(len(info.seeds), 'seed')}"


def _range(distribution: BaseDistribution | None) -> str:
    match distribution:
        case FloatDistribution(low=low, high=high, log=log) | IntDistribution(low=low, high=high, log=log):
            return f"{shown(low)} to {shown(high)}{', log' if log else ''}"
        case CategoricalDistribution(choices=choices):
            return ", ".join(shown(choice) for choice in choices)
        case _:
            return MISSING


def panel(view: SearchView) -> list[Part]:
    """Return the parts of this panel."""
    return winner_parts(winner_info(view))
