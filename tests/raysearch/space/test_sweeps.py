"""Tests of W&B sweeps and Python dicts of ranges against the meaning in their documentation."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from ray import tune

from raysearch.commands import space_commands
from raysearch.errors import InputError
from raysearch.space.distributions import words_of
from raysearch.space.parsing import load_space, parse_space
from raysearch.space.sweeps import Converted, Wish, convert

SWEEP = """
method: bayes
name: potatoes
program: train.py
metric: {name: miou, goal: maximize}
run_cap: 20
parameters:
  lr: {distribution: log_uniform_values, min: 0.001, max: 0.1}
  contrast.temperature: {min: 0.05, max: 0.5}
  contrast:
    parameters:
      max_views: {min: 1, max: 100}
      strategy: {values: [semi_hard, hard_fill]}
  weight_decay: {value: 0.001}
  train: {parameters: {batch_size: {value: 4}, max_iters: {value: 400}, report_iters: {value: 20}}}
early_terminate: {type: hyperband, min_iter: 3, eta: 2}
"""


def converted(text: str, tmp_path: Path, wish: Wish = Wish()) -> Converted:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return convert(str(path), wish, tmp_path)


def with_parameter(words: dict[str, Any], name: str = "optim.lr") -> str:
    return yaml.safe_dump(
        {
            "method": "random",
            "run_cap": 4,
            "metric": {"name": "miou", "goal": "maximize"},
            "parameters": {name: words, "optim.poly_power": {"min": 0.5, "max": 0.9}},
        }
    )


def faults(text: str, tmp_path: Path, wish: Wish = Wish()) -> list[str]:
    with pytest.raises(InputError) as caught:
        converted(text, tmp_path, wish)
    return [str(fault).removeprefix(f"{tmp_path / 'sweep.yaml'}: ") for fault in caught.value.faults]


def test_a_sweep_becomes_a_space_file_that_loads(tmp_path: Path) -> None:
    made = converted(SWEEP, tmp_path)
    assert made.document == {
        "name": "potatoes",
        "config": {"optim": {"weight_decay": 0.001}, "train": {"batch_size": 4, "max_iters": 400, "report_iters": 20}},
        "space": {
            "optim.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
            "contrast.temperature": {"type": "float", "low": 0.05, "high": 0.5},
            "contrast.max_views": {"type": "int", "low": 1, "high": 100},
            "contrast.strategy": {"type": "categorical", "choices": ["semi_hard", "hard_fill"]},
        },
        "objective": {"metric": "miou", "mode": "max"},
        "search": {"algorithm": "auto", "trials": 20},
        "scheduler": {"name": "asha", "grace_iters": 60, "reduction_factor": 2},
    }
    assert made.notes == (
        'program: "train.py" has no meaning here and was left out',
        "lr is optim.lr in the config",
        "weight_decay is optim.weight_decay in the config",
        "bayes became search.algorithm: auto, which also uses a Gaussian process, but of learning curves",
        "early_terminate: the first rung of asha is after 3 reports, 60 iterations",
    )
    space = tmp_path / "space.yaml"
    space.write_text(made.to_yaml("sweep.yaml"))
    assert space.read_text().startswith("# Converted from sweep.yaml by raysearch convert.\n# program")
    spec = load_space(space)
    assert (spec.grace_iters, spec.max_iters) == (60, 400)


E = math.e


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"min": 0.5, "max": 2.0}, {"type": "float", "low": 0.5, "high": 2.0}),
        ({"min": 1, "max": 2.0}, {"type": "float", "low": 1.0, "high": 2.0}),
        ({"distribution": "uniform", "min": 1, "max": 2}, {"type": "float", "low": 1.0, "high": 2.0}),
        ({"distribution": "q_uniform", "min": 0.1, "max": 1.04, "q": 0.1}, {"low": 0.1, "high": 1.0, "step": 0.1}),
        ({"distribution": "log_uniform", "min": -2, "max": 0}, {"low": E**-2, "high": 1.0, "log": True}),
        ({"distribution": "inv_log_uniform", "min": 0, "max": 2}, {"low": E**-2, "high": 1.0, "log": True}),
        ({"distribution": "inv_log_uniform_values", "min": 0.1, "max": 2}, {"low": 0.1, "high": 2.0, "log": True}),
    ],
)
def test_a_number_is_drawn_from_the_same_range(given: dict[str, Any], words: dict[str, Any], tmp_path: Path) -> None:
    made = converted(with_parameter(given), tmp_path).document["space"]["optim.lr"]
    assert made == pytest.approx({"type": "float", **words})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"min": 1, "max": 8}, {"low": 1, "high": 8}),
        ({"distribution": "q_uniform", "min": 3, "max": 17, "q": 4}, {"low": 4, "high": 16, "step": 4}),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 64}, {"low": 1, "high": 64, "log": True}),
    ],
)
def test_a_whole_number_too(given: dict[str, Any], words: dict[str, Any], tmp_path: Path) -> None:
    made = converted(with_parameter(given, "contrast.max_views"), tmp_path).document["space"]["contrast.max_views"]
    assert made == {"type": "int", **words}


def test_one_value_is_fixed_and_probabilities_are_told(tmp_path: Path) -> None:
    assert converted(with_parameter({"values": [0.1]}), tmp_path).document["config"] == {"optim": {"lr": 0.1}}
    made = converted(with_parameter({"values": [0.1, 0.2], "probabilities": [0.9, 0.1]}), tmp_path)
    assert made.document["space"]["optim.lr"] == {"type": "categorical", "choices": [0.1, 0.2]}
    assert made.notes == ("optim.lr: the probabilities were left out, because a search does not use them",)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"distribution": "normal", "mu": 0, "sigma": 1},
            "a normal distribution has no limits, but a search needs them; give min and max with uniform",
        ),
        ({"mu": 0, "sigma": 1}, "a normal distribution has no limits, but a search needs them"),
        ({"distribution": "beta", "a": 1, "b": 2}, "a beta distribution is not supported"),
        ({"distribution": "unifrom", "min": 0, "max": 1}, 'distribution "unifrom" is not known; did you mean uniform?'),
        ({"distribution": "uniform", "min": 0}, "has no max, which uniform needs; add it"),
        ({"distribution": "uniform", "min": "low", "max": 1}, 'min: "low" is not a number; write a number'),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 9, "q": 2}, "q = 2 on a log scale, which has no"),
        ({"distribution": "inv_log_uniform", "min": 0, "max": 1e9}, "write inv_log_uniform_values to give the values"),
        ({"mean": 1}, "has neither a value nor a range; give value, values, or min and max"),
    ],
)
def test_what_has_no_words_is_a_fault(given: dict[str, Any], fault: str, tmp_path: Path) -> None:
    (told,) = faults(with_parameter(given), tmp_path)
    assert told.startswith("parameters.optim.lr")
    assert fault in told


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    sweep = {
        "method": "bayesian",
        "metric": {"name": "miou", "goal": "maximise"},
        "parameter": {},
        "parameters": {"learning_rate": {"min": 0.1, "max": 1.0}, "warmup_iters": {"value": 3}, "optim.lr": 3},
        "early_terminate": {"type": "median"},
    }
    assert faults(yaml.safe_dump(sweep, sort_keys=False), tmp_path) == [
        'method: "bayesian" is not known; did you mean bayes?',
        'metric.goal: "maximise" is not known; did you mean maximize?',
        "parameter: is not a known key of a sweep; did you mean parameters?",
        "parameters.learning_rate: the trial config has no learning_rate; name it with --rename learning_rate=PATH, or "
        "take it out",
        "parameters.warmup_iters: the trial config has no warmup_iters; say which: --rename "
        "warmup_iters=contrast.warmup_iters or optim.warmup_iters",
        "parameters.optim.lr: is a number; give value, values, or min and max",
        'early_terminate: {"type": "median"} is not known; W&B only has the type hyperband',
    ]


def test_names_and_the_metric_may_be_said_beside_it(tmp_path: Path) -> None:
    text = SWEEP.replace("lr:", "learning_rate:").replace("name: miou", "name: val/mIoU")
    wish = Wish(renamed={"learning_rate": "optim.lr"}, metric="miou")
    assert converted(text, tmp_path, wish).document == converted(SWEEP, tmp_path).document


def test_a_grid_has_an_end_of_its_own_and_another_search_is_given_one(tmp_path: Path) -> None:
    grid = {
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"optim.name": {"values": ["sgd", "adamw"]}, "optim.lr": {"values": [0.1, 0.2, 0.3]}},
    }
    made = converted(yaml.safe_dump(grid), tmp_path)
    assert made.document["search"] == {"algorithm": "grid", "trials": 7}
    assert made.document["scheduler"] == {"name": "none"}
    made = converted(yaml.safe_dump({**grid, "method": "random"}), tmp_path)
    assert made.document["search"] == {"algorithm": "random", "trials": 32}
    assert made.notes == ("the sweep has no run_cap, so search.trials is set to 32",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (tune.uniform(0.1, 2), {"type": "float", "low": 0.1, "high": 2}),
        (tune.loguniform(1e-3, 1), {"type": "float", "low": 1e-3, "high": 1, "log": True}),
        (tune.quniform(0.5, 2, 0.5), {"type": "float", "low": 0.5, "high": 2, "step": 0.5}),
        (tune.randint(1, 9), {"type": "int", "low": 1, "high": 8}),
        (tune.lograndint(1, 9), {"type": "int", "low": 1, "high": 8, "log": True}),
        (tune.qrandint(3, 17, 4), {"type": "int", "low": 4, "high": 16, "step": 4}),
        (tune.choice(["a", "b"]), {"type": "categorical", "choices": ["a", "b"]}),
        (tune.grid_search([1, 2]), {"type": "categorical", "choices": [1, 2]}),
        (FloatDistribution(0.1, 1.0, log=True), {"type": "float", "low": 0.1, "high": 1.0, "log": True}),
        (IntDistribution(1, 9, step=2), {"type": "int", "low": 1, "high": 9, "step": 2}),
        (CategoricalDistribution([True, None]), {"type": "categorical", "choices": [True, None]}),
        (0.5, None),
        ({"low": 0}, None),
    ],
)
def test_ranges_of_python_in_words(value: Any, words: dict[str, Any] | None) -> None:
    assert words_of(value) == words


RANGES = """
from optuna.distributions import FloatDistribution
from ray import tune

space = {
    "optim": {"lr": tune.loguniform(1e-3, 0.1), "name": "sgd"},
    "contrast.temperature": FloatDistribution(0.05, 0.5),
}
wrong = {"optim.lr": tune.randn(0, 1), "contrast.max_views": tune.sample_from(lambda config: 3)}
document = {"space": {"optim": {"lr": tune.loguniform(1e-3, 0.1)}}, "objective": {"metric": "miou", "mode": "max"}}
"""


def test_a_dict_of_ranges_becomes_a_space_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(RANGES)
    source, out = f"{tmp_path / 'mine.py'}:space", tmp_path / "space.yaml"
    with pytest.raises(InputError, match=r"the metric or its direction is missing.*give --metric and --mode"):
        space_commands.convert(source, out)
    space_commands.convert(source, out, metric="miou", mode="max")
    assert capsys.readouterr().out == f"space file: {out}\n"
    document = yaml.safe_load(out.read_text())
    assert document["config"] == {"optim": {"name": "sgd"}}
    assert document["space"] == {
        "optim.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
        "contrast.temperature": {"type": "float", "low": 0.05, "high": 0.5},
    }
    with pytest.raises(InputError, match="already exists"):
        space_commands.convert(source, out, metric="miou", mode="max")
    with pytest.raises(InputError) as caught:
        convert(f"{tmp_path / 'mine.py'}:wrong", Wish(metric="miou", mode="max"), tmp_path)
    assert [str(fault).rpartition("wrong: ")[2] for fault in caught.value.faults] == [
        "optim.lr: a normal distribution has no limits, but a search needs them; use tune.uniform",
        "contrast.max_views: a Function (such as tune.sample_from) is code, not a range; give a range, and a condition "
        "on it with when in the space file",
    ]
    with pytest.raises(InputError, match=r"the file has no spaec; did you mean space\?"):
        convert(f"{tmp_path / 'mine.py'}:spaec", Wish(), tmp_path)


def test_a_whole_document_may_have_them(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(RANGES)
    made = convert(f"{tmp_path / 'mine.py'}:document", Wish(), tmp_path)
    assert parse_space(made.document, tmp_path).parameters[0].path == "optim.lr"


def test_a_space_file_needs_no_conversion_and_a_sweep_says_what_it_needs(tmp_path: Path) -> None:
    (told,) = faults("space: {}\n", tmp_path)
    where = tmp_path / "sweep.yaml"
    assert told == f"is a space file, but a W&B sweep is needed here; `raysearch run {where}` searches it"
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    with pytest.raises(
        InputError, match=r"is a W&B sweep, but a space file is needed here; `raysearch convert .* converts"
    ):
        load_space(tmp_path / "sweep.yaml")


def test_faults_of_the_space_file_are_told_at_the_places_of_the_sweep(tmp_path: Path) -> None:
    text = """
method: bayes
name: my/sweep
metric: {name: mIou, goal: maximize}
run_cap: 0
early_terminate: {type: hyperband, min_iter: 500, eta: 1}
parameters:
  lr: {min: -0.5, max: 0.9}
  backbone: {values: [test_resnet, 12]}
  train.batch_size: {values: [0, 4]}
  train.max_iters: {value: -5}
  optim: {parameters: {poly_power: {min: -1.5, max: 2.0}}}
"""
    places = ["name", "parameters.train.max_iters", "parameters.lr", "parameters.backbone"]
    places += ["parameters.train.batch_size", "parameters.optim.parameters.poly_power", "metric.name", "run_cap"]
    assert [fault.partition(": ")[0] for fault in faults(text, tmp_path)] == [*places, "early_terminate.eta"]
    told = faults(text, tmp_path, Wish(metric="miu", mode="max"))
    with pytest.raises(InputError) as caught:
        converted(text, tmp_path, Wish(metric="miu", mode="max"))
    assert "--metric miu" in [fault.where for fault in caught.value.faults], told


def test_faults_of_a_dict_of_ranges_are_told_at_its_own_names(tmp_path: Path) -> None:
    (tmp_path / "tuned.py").write_text("from ray import tune\nRANGES = {'batch_size': tune.randint(-3, 5)}\n")
    wish = Wish({"batch_size": "train.batch_size"}, metric="miou", mode="max")
    with pytest.raises(InputError) as caught:
        convert(f"{tmp_path / 'tuned.py'}:RANGES", wish, tmp_path)
    assert {fault.where for fault in caught.value.faults} == {f"{tmp_path / 'tuned.py'}:RANGES: batch_size"}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"min": 2.0, "max": 1.0}, "min = 2.0 is above max = 1.0; swap them"),
        (
            {"distribution": "log_uniform_values", "min": 0, "max": 1},
            "min = 0 with log_uniform_values, a log scale, which needs min > 0; give a larger min",
        ),
    ],
)
def test_faults_of_a_range_are_in_the_words_of_the_sweep(given: dict[str, Any], fault: str, tmp_path: Path) -> None:
    assert faults(with_parameter(given), tmp_path) == [f"parameters.optim.lr: {fault}"]
