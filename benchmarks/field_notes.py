"""The questions of a tuning notebook, answered on a dataset: python -m benchmarks.field_notes DATA_DIR.

A question consists of a reference config and of others that differ from it in one respect. Each config is trained with
every seed. The same seed means the same initial weights, batches and crops for all configs, so differences are computed
per seed. A training is a function of its config, so load on the machine changes its duration but not its result.
Trainings that are already in the results file are not repeated. The defaults suit CamVid.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks import record
from benchmarks.record import Figure
from trainables.config import Config
from trainables.dotted_paths import with_values
from trainables.trainer import Trainer

Values = Mapping[str, Any]

CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
RARE = ("pole", "fence", "pedestrian", "bicyclist")
"""The four classes of CamVid with the fewest training pixels, 0.3 to 1.2 % of all."""

BASE: Values = {
    "data.label_class_ids": list(range(11)),
    "data.class_names": [*CAMVID],
    "data.image_scale": 0.25,
    "data.augmentation.crop_size": [96, 128],
    "model.backbone": "hrnet_w18_small",
    "loss.ce_weight_power": 0.5,
    "contrast.max_views": 32,
    "optim.lr": 0.05,
    "train.max_iters": 300,
    "train.report_iters": 300,
    "train.num_threads": 1,
    "train.device": "auto",
}
"""Weighted cross entropy plus 0.1 times semi-hard pixel contrast, batch size 8, 300 iterations from scratch."""

_CE: Values = {"contrast.loss_weight": 0.0}
_MEMORY: Values = {"contrast.memory": True}
_WEIGHTED: Values = {**_CE, "loss.ce_weight_power": 1.0}
_SMALL_BATCH: Values = {"train.batch_size": 4, "train.max_iters": 150, "train.report_iters": 150}

QUESTIONS: Mapping[str, Mapping[str, Values]] = {
    "Do class weights help, and which?": {
        "unweighted": {**_CE, "loss.ce_weight_power": 0.0},
        "max_over_count": _WEIGHTED,
        "max_over_count, power 0.5": _CE,
        "inverse_log": {**_WEIGHTED, "loss.ce_weights": "inverse_log"},
        "one_minus_frequency": {**_WEIGHTED, "loss.ce_weights": "one_minus_frequency"},
    },
    "Contrast as a sum or as a product?": {
        "no contrast": _CE,
        "sum, 0.1": {},
        "sum, 1": {"contrast.loss_weight": 1.0},
        "product": {"loss.combination": "product", "contrast.loss_weight": 1.0},
        "contrast alone": {"loss.ce_coef": 0.0, "contrast.loss_weight": 1.0},
    },
    "Does a memory bank that stores the right pixels help?": {
        "without": {},
        "with": _MEMORY,
        "with, after 150 iterations": {**_MEMORY, "contrast.warmup_iters": 150},
    },
    "How many views a group?": {
        "32": {},
        "8": {"contrast.max_views": 8},
        "128": {"contrast.max_views": 128},
        "2048 of 4096 samples": {"contrast.max_views": 2048, "contrast.max_samples": 4096},
        "2048 of 4096 samples, large groups only": {
            "contrast.max_views": 2048,
            "contrast.max_samples": 4096,
            "contrast.min_pixels": 200,
        },
    },
    "How are short groups filled?": {
        "semi_hard": {},
        "hard_fill": {"contrast.strategy": "hard_fill"},
        "one_sided": {"contrast.strategy": "one_sided"},
        "all_cases": {"contrast.strategy": "all_cases"},
        "all_cases, repeated": {"contrast.strategy": "all_cases", "contrast.replacement": True},
    },
    "Does Lovasz help?": {
        "ce": _CE,
        "lovasz": {**_CE, "loss.segmentation": "lovasz"},
        "ce + lovasz": {**_CE, "loss.segmentation": "ce_lovasz"},
    },
    "How large a batch?": {
        "8": {},
        "4": {"train.batch_size": 4},
        "24": {"train.batch_size": 24},
        "8, as many images as with 24": {"train.max_iters": 900, "train.report_iters": 900},
    },
    "How large the images?": {
        "90 x 120, crops of 96 x 128": _SMALL_BATCH,
        "256 x 341, crops of 256 x 256": {
            **_SMALL_BATCH,
            "data.image_scale": 256 / 360,
            "data.augmentation.crop_size": [256, 256],
        },
    },
}
"""Changes to `BASE` by question and answer; the first answer is the one that the others are compared with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/field-notes.jsonl"), help="results, one line each")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=1)
    record.add_option(parser)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    known = _read(arguments.out)
    answers = [values for question in QUESTIONS.values() for values in question.values()]
    waiting = {
        _key(values, seed): (arguments.data_dir, values, seed)
        for seed, values in itertools.product(arguments.seeds, answers)
        if _key(values, seed) not in known
    }
    # A fork would share the state of threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, context) as pool, arguments.out.open("a") as file:
        futures = {pool.submit(_train, *task): key for key, task in waiting.items()}
        for number, future in enumerate(as_completed(futures), 1):
            result = {"key": futures[future], **future.result()}
            known[result["key"]] = result
            print(json.dumps(result), file=file, flush=True)
            values, seed = waiting[result["key"]][1:]
            print(
                f"{number} of {len(waiting)}: {result['miou']:.4f} in {result['seconds']:.0f} s, seed {seed}, {values}"
            )
    for question, arms in QUESTIONS.items():
        print(f"\n### {question}\n\n{_table(arms, arguments.seeds, known)}")
    print(f"\nload average {os.getloadavg()[0]:.1f}")
    record.write("field_notes", arguments, figures_of(known, arguments.seeds))


def figures_of(known: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> dict[str, Figure]:
    """Return the mIoU of every answer, in points of 100: the mean over the seeds, with one standard deviation."""
    figures = {}
    for question, arms in QUESTIONS.items():
        for answer, values in arms.items():
            scores = [100 * known[_key(values, seed)]["miou"] for seed in seeds]
            deviation = stdev(scores) if len(scores) > 1 else 0.0
            spread = (mean(scores) - deviation, mean(scores) + deviation)
            figures[f"{question} {answer}"] = Figure(mean(scores), "mIoU x 100", "higher", spread)
    return figures


def _train(data_dir: Path, values: Values, seed: int) -> dict[str, Any]:
    where = {"data.dir": str(data_dir.expanduser().resolve()), "train.seed": seed}
    config = Config.model_validate(with_values({}, {**BASE, **values, **where}))
    started = time.perf_counter()
    trainer = Trainer(config)
    while not trainer.done:
        report = trainer.run_to_report()
    names = config.data.class_names or ()
    return {
        "miou": report["miou"],
        "iou": dict(zip(names, report["iou"], strict=True)),
        "seconds": time.perf_counter() - started,
    }


def _key(values: Values, seed: int) -> str:
    return json.dumps({**BASE, **values, "train.seed": seed}, sort_keys=True)


def _read(file: Path) -> dict[str, dict[str, Any]]:
    if not file.exists():
        return {}
    return {result["key"]: result for result in map(json.loads, file.read_text().splitlines())}


def _table(arms: Mapping[str, Values], seeds: Sequence[int], known: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of means and standard deviations over the seeds, in points of 100, and of differences per seed."""
    lines = ["| | mIoU | difference | rare classes | difference |", "|---|---|---|---|---|"]
    first: list[tuple[float, float]] = []
    for name, values in arms.items():
        results = [known[_key(values, seed)] for seed in seeds]
        scores = [(100 * r["miou"], 100 * mean(r["iou"][rare] for rare in RARE)) for r in results]
        first = first or scores
        cells = [name]
        for i in (0, 1):
            cells.append(_spread([score[i] for score in scores], ""))
            differences = [score[i] - reference[i] for score, reference in zip(scores, first, strict=True)]
            cells.append("" if scores is first else _spread(differences, "+"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(numbers: Sequence[float], sign: str) -> str:
    return f"{mean(numbers):{sign}.1f} ± {stdev(numbers):.1f}" if len(numbers) > 1 else f"{numbers[0]:{sign}.1f}"


if __name__ == "__main__":
    main()
