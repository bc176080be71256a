"""Savings of shared iterations and their effect on the score: python -m benchmarks.shared_beginning CAMVID.

The space is that of `search_spaces/camvid.yaml`, whose parameters are all continuous. Trials are drawn at random. Three
variants are compared: no sharing, the first form (before `contrast.warmup_iters`, bit-equal to no sharing) and the
second form (`train.shared_iters`). Savings are counted over the keys of the trials' shared iterations, for trials at
the full budget. Scores are those at the file's full budget, on smaller images, for every config and seed, with
differences per seed. Trainings in the results file are not repeated.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t as student

from benchmarks import record
from benchmarks.record import Figure
from raysearch.algorithms.optuna_samplers import suggest_at_random
from raysearch.space.parsing import load_space
from raysearch.space.spec import SearchSpec
from trainables.config import Config
from trainables.dotted_paths import with_values
from trainables.shared_beginning import num_shared_iters, shared_key
from trainables.trainer import Trainer

SPACE_FILE = Path(__file__).parents[1] / "search_spaces" / "camvid.yaml"
SMALLER = "config.data.image_scale=0.25", "config.data.augmentation.crop_size=[96,128]"
NUM_TRIALS = 16
ARMS = {"none": 0, "60 iterations": 60, "120 iterations": 120}
"""`train.shared_iters` of the second form; the contrast loss starts at 60, and the file's full budget is 480."""


def space(data: str, shared_iters: int, settings: Sequence[str] = ()) -> SearchSpec:
    own = [f"config.data.dir={data}", f"config.train.shared_iters={shared_iters}", "scheduler.name=none"]
    return load_space(SPACE_FILE, [*settings, *own])


def config_of(spec: SearchSpec, trial: int) -> Config:
    """Return the config of a trial: trial 0 is the default, the others are drawn."""
    return Config.model_validate(spec.trial_config(suggest_at_random(spec, trial) if trial else {}))


def saved_iterations(configs: Sequence[Config]) -> tuple[int, int]:
    """Return the number of trials that reuse shared iterations, and the iterations saved if trials run one by one."""
    longest: dict[str, int] = {}
    num_sharing = num_saved = 0
    for config in configs:
        key, num_iters = shared_key(config), num_shared_iters(config)
        saved = min(longest.get(key, 0), num_iters)
        num_sharing += saved > 0
        num_saved += saved
        longest[key] = max(longest.get(key, 0), num_iters)
    return num_sharing, num_saved


def train(data: str, shared_iters: int, trial: int, seed: int) -> dict[str, Any]:
    started = time.perf_counter()
    config = config_of(space(data, shared_iters, SMALLER), trial)
    nested = with_values(config.model_dump(mode="json"), {"train.seed": seed, "train.num_threads": 1})
    trainer = Trainer(Config.model_validate(nested))
    trainer.train_to(config.train.max_iters)
    miou = float(trainer.evaluate().miou())
    seconds = round(time.perf_counter() - started)
    return {"shared_iters": shared_iters, "trial": trial, "seed": seed, "miou": miou, "seconds": seconds}


def print_savings(data: str) -> dict[str, Figure]:
    """Print the iterations that each form of sharing saves, and return them in percent."""
    figures: dict[str, Figure] = {}
    print(
        f"\n{NUM_TRIALS} trials of 480 iterations\n\n| shared | trials that share | iterations saved |\n|---|---|---|"
    )
    for name, shared_iters in ARMS.items():
        spec = space(data, shared_iters)
        configs = [config_of(spec, trial) for trial in range(NUM_TRIALS)]
        whole = sum(config.train.max_iters for config in configs)
        if shared_iters == 0:
            print(f"| nothing | 0 of {NUM_TRIALS - 1} | 0 of {whole} |")
            name = "form 1, before the contrast joins"
        else:
            name = f"form 2, {name}"
        num_sharing, num_saved = saved_iterations(configs)
        print(f"| {name} | {num_sharing} of {NUM_TRIALS - 1} | {num_saved} of {whole} ({num_saved / whole:.1%}) |")
        figures[f"{name}: iterations saved"] = Figure(100 * num_saved / whole, "%", "higher")
    spec = space(data, 0)
    contrast = [p.path for p in spec.parameters if p.path.startswith("contrast.")]
    configs = []
    for trial in range(NUM_TRIALS):
        values = suggest_at_random(spec, trial) if trial else {}
        configs.append(Config.model_validate(spec.trial_config({p: values[p] for p in contrast if p in values})))
    num_sharing, num_saved = saved_iterations(configs)
    whole = sum(config.train.max_iters for config in configs)
    cells = f"{num_sharing} of {NUM_TRIALS - 1} | {num_saved} of {whole} ({num_saved / whole:.1%})"
    print(f"| form 1, contrast alone searched | {cells} |")
    figures["form 1, contrast alone searched: iterations saved"] = Figure(100 * num_saved / whole, "%", "higher")
    return figures


def print_scores(results: list[dict[str, Any]]) -> dict[str, Figure]:
    """Print the scores of each form, and return their means over all configs and seeds."""
    figures: dict[str, Figure] = {}
    by_key = {(row["shared_iters"], row["trial"], row["seed"]): row["miou"] for row in results}
    trials, seeds = (sorted({row[name] for row in results}) for name in ("trial", "seed"))
    print(
        "\n| mIoU x 100, mean of the seeds | " + " | ".join(f"config {trial}" for trial in trials) + " | difference |"
    )
    print("|---|" + "---|" * (len(trials) + 1))
    for name, shared_iters in ARMS.items():
        if (shared_iters, trials[0], seeds[0]) not in by_key:
            continue
        means = [100 * mean(by_key[shared_iters, trial, seed] for seed in seeds) for trial in trials]
        pairs = [(by_key[shared_iters, t, s], by_key[0, t, s]) for t in trials for s in seeds]
        differences = [100 * (shared - alone) for shared, alone in pairs]
        told = "" if shared_iters == 0 else f"{mean(differences):+.2f} ± {_half_width(differences):.2f} (95 %)"
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in means) + f" | {told} |")
        figures[f"{name}: score"] = Figure(mean(means), "mIoU x 100", "higher")
        if shared_iters:
            middle, half_width = mean(differences), _half_width(differences)
            spread = (middle - half_width, middle + half_width)
            figures[f"{name}: difference to no sharing"] = Figure(middle, "mIoU x 100", "higher", spread)
    return figures


def _half_width(values: Sequence[float]) -> float:
    return float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the folder of CamVid")
    parser.add_argument("--results", type=Path, default=Path("shared_beginning.json"))
    parser.add_argument("--configs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shared-iters", type=int, nargs="+", default=[0, 60])
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    record.add_option(parser)
    arguments = parser.parse_args()
    figures = print_savings(arguments.data)
    results = json.loads(arguments.results.read_text()) if arguments.results.exists() else []
    done = {(row["shared_iters"], row["trial"], row["seed"]) for row in results}
    wanted = [
        (shared_iters, trial, seed)
        for seed in range(arguments.seeds)
        for trial in range(1, arguments.configs + 1)
        for shared_iters in arguments.shared_iters
    ]
    with ProcessPoolExecutor(arguments.processes) as pool:
        running = [pool.submit(train, arguments.data, *key) for key in wanted if key not in done]
        for future in as_completed(running):
            results.append(future.result())
            arguments.results.write_text(json.dumps(results))
    rows = [row for row in results if (row["shared_iters"], row["trial"], row["seed"]) in set(wanted)]
    record.write("shared_beginning", arguments, figures | print_scores(rows))


if __name__ == "__main__":
    main()
