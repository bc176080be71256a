"""Histories of searches written by hand, without a journal."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.history.events import Mode, Report, Status
from raysearch.history.history import History, Leg, TrialHistory
from raysearch.report.view import SearchView
from raysearch.results.confirmation import Confirmation, ConfirmedTrial

SPACE: dict[str, BaseDistribution] = {
    "optim.lr": FloatDistribution(0.001, 0.1, log=True),
    "views": IntDistribution(0, 10),
    "memory": CategoricalDistribution([True, False]),
    "memory_size": IntDistribution(100, 1000),
}


def trial(
    values: Mapping[str, Any],
    curve: Mapping[int, float] | Sequence[float] = (),
    status: Status = "completed",
    *,
    error: str | None = None,
    is_default: bool = False,
    metrics: Mapping[str, Any] | None = None,
    space: Mapping[str, BaseDistribution] = SPACE,
) -> TrialHistory:
    """Return a trial; a curve without iterations counts from 1."""
    points = curve if isinstance(curve, Mapping) else dict(enumerate(curve, start=1))
    distributions = {path: space[path] for path in values if path in space}
    return TrialHistory(
        number=-1,
        params={path: values[path] for path in distributions},
        values=dict(values),
        distributions=distributions,
        started=1_795_416_629.0,
        is_default=is_default,
        reports={i: Report(i, value, metrics or {}, None, 1.5, False) for i, value in points.items()},
        status=status,
        error=error,
    )


def history_of(*trials: TrialHistory, mode: Mode = "max", target: int | None = None) -> History:
    """Return the history of trials numbered in their order."""
    history = History()
    history.mode, history.name = mode, "by hand"
    history.target_trials = len(trials) if target is None else target
    for number, one in enumerate(trials):
        one.number = number
        history.add(one)
    return history


RICH_SPACE: dict[str, BaseDistribution] = {
    "optim.lr": FloatDistribution(0.001, 0.3, log=True),
    "contrast.temperature": FloatDistribution(0.05, 0.5, log=True),
    "contrast.loss_weight": FloatDistribution(0.01, 1.0, log=True),
    "loss.ce_weight_power": FloatDistribution(0.0, 1.0),
    "contrast.max_views": IntDistribution(4, 256, log=True),
    "contrast.memory": CategoricalDistribution([True, False]),
    "contrast.memory_size": IntDistribution(500, 5000),
    "loss.segmentation": CategoricalDistribution(["ce", "ohem_ce", "lovasz", "rmi"]),
}
CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
RICH_RUNGS = (60, 120, 240)


def rich_history(num_trials: int, num_workers: int = 4) -> History:
    """Return a history with everything that a page can show.

    Its score depends on some of the values. It contains stopped, infeasible, failed and running trials, shared
    iterations, IoU of classes, and changing workers.
    """
    rng = random.Random(0)
    free = [0.0] * num_workers
    trials = []
    for number in range(num_trials):
        memory = rng.random() < 0.5
        values: dict[str, Any] = {
            "optim.lr": 10 ** rng.uniform(-3, math.log10(0.3)),
            "contrast.temperature": 10 ** rng.uniform(math.log10(0.05), math.log10(0.5)),
            "contrast.loss_weight": 10 ** rng.uniform(-2, 0),
            "loss.ce_weight_power": rng.random(),
            "contrast.max_views": rng.randint(4, 256),
            "contrast.memory": memory,
            "loss.segmentation": rng.choice(["ce", "ohem_ce", "lovasz", "rmi"]),
        }
        if memory:
            values["contrast.memory_size"] = rng.randint(500, 5000)
        if number == 0:
            values |= {"optim.lr": 0.01, "loss.ce_weight_power": 0.0}
        good = (
            0.55
            - 0.12 * (math.log10(values["optim.lr"]) + 1.2) ** 2
            - 0.15 * (values["loss.ce_weight_power"] - 0.4) ** 2
        )
        good += 0.03 * memory + rng.gauss(0, 0.015)
        passed = next((i for i in range(3) if rng.random() > 0.35 + 5 * max(0.0, good - 0.45)), 3) if number else 3
        reached = 480 if passed == 3 else RICH_RUNGS[passed]
        status: Status = "completed" if reached == 480 else "stopped"
        error = None
        if number and rng.random() < 0.04:
            status, reached, error = "infeasible", 60, "out of memory: CUDA tried to allocate 2.00 GiB"
        elif number and rng.random() < 0.02:
            status, reached, error = "failed", 0, 'KeyError: "a bug of the user\'s"'
        elif number >= num_trials - num_workers:
            status, reached = "running", 120
        worker = free.index(min(free))
        begin, shared = free[worker] + 4.0, 60 if number % 3 == 1 else 0
        started = begin
        reports: dict[int, Report] = {}
        for iteration in range(60, reached + 1, 60):
            score = good * (1 - math.exp(-iteration / 150)) + rng.gauss(0, 0.004)
            iou = [min(0.98, max(0.0, score + 0.3 * math.cos(2 * k) + rng.gauss(0, 0.02))) for k in range(10)]
            first = iteration == 60
            metrics = {
                "iou": [*iou, math.nan],
                "lr": 0.1,
                "loss": 1 - score,
                "iterations_shared": shared if first else 0,
            }
            seconds = 1.0 if first and shared else rng.uniform(8.0, 12.0)
            reports[iteration] = Report(iteration, score, metrics, None, seconds, iteration == 480)
            free[worker] = begin = begin + seconds
        one = trial(values, (), status, error=error, is_default=number == 0, space=RICH_SPACE)
        one.reports.update(reports)
        one.started += started - 4.0
        if reports:
            one.legs.append(Leg(f"node:{1000 + worker}", one.started, one.started + begin - started))
        trials.append(one)
    return history_of(*trials, target=num_trials)


def rich_view(num_trials: int = 60) -> SearchView:
    """Return the view of `rich_history` with all additional results that a page can show."""
    history = rich_history(num_trials)
    best, second = [trial for trial in history.ranked() if not trial.is_default][:2]
    confirmed = (
        ConfirmedTrial(best.number, 480, (0.531, 0.524, 0.529), (0.531, 0.524, 0.529)),
        ConfirmedTrial(second.number, 480, (0.522, 0.519, 0.528), (0.522, 0.519, 0.528)),
        ConfirmedTrial(0, 480, (0.431, 0.436, 0.421), (0.431, 0.436, 0.421)),
    )
    block = {
        "metric": "miou",
        "trial": best.number,
        "seed": 0,
        "num_threads": 1,
        "versions": {"python": "3.11.9", "torch": "2.15"},
    }
    return SearchView(
        history,
        "miou",
        rungs=RICH_RUNGS,
        max_iters=480,
        best={"optim": {"lr": best.values["optim.lr"]}, "contrast": {"memory": True}, "raysearch": block},
        commands=("python -m raysearch train runs/rich/best_config.json",),
        confirmation=Confirmation("max", "val", 2, (1, 2, 3), confirmed, (), 0),
        entries={"iou": CLASSES},
        gpu=0.5,
        hashes=(("space.yaml", "3f" * 32), ("best_checkpoint/model.pt", "a1" * 32)),
    )
