"""Tests of the survey of a space: values that no trial uses, and values that no config allows."""

from pathlib import Path

from tests.raysearch.space.space_files import BASE, changed, faults_of, searching, spec_of


def test_a_value_wrong_only_beside_the_default_of_another_searched_one_is_right(folder: Path) -> None:
    document = changed(
        config__contrast={"loss_weight": 0.0},
        space={
            "loss.ce_coef": {"type": "float", "low": 0.0, "high": 1.0},
            "contrast.loss_weight": {"type": "float", "low": 0.0, "high": 1.0},
        },
    )
    assert len(spec_of(folder, document).parameters) == 2


def test_a_searched_value_that_no_trial_uses(folder: Path) -> None:
    words = {"type": "int", "low": 500, "high": 5000}
    (fault,) = faults_of(folder, searching("contrast.memory_size", words))
    assert fault.startswith("space.yaml: space.contrast.memory_size: no trial would use it: contrast.memory is false;")
    assert spec_of(folder, searching("contrast.memory_size", words, config__contrast={"memory": True})).parameters
    (fault,) = faults_of(
        folder, searching("data.drawn.seed", {"type": "int", "low": 0, "high": 9}, config__data={"dir": "x"})
    )
    assert "data.dir is given" in fault


def test_a_value_used_behind_searched_gates_is_used(folder: Path) -> None:
    gates = {
        "contrast.memory_size": {"type": "int", "low": 500, "high": 5000},
        "contrast.memory": {"type": "categorical", "choices": [True, False]},
        "contrast.loss_weight": {"type": "float", "low": 0.0, "high": 1.0},
        "loss.ce_weights": {"type": "categorical", "choices": ["inverse", "inverse_log"]},
        "loss.ce_weight_power": {"type": "float", "low": 0.0, "high": 1.0},
    }
    closed = {"loss_weight": 0.0}
    assert len(spec_of(folder, changed(space=gates, config__contrast=closed)).parameters) == 5
    without = {path: words for path, words in gates.items() if path != "contrast.loss_weight"}
    faults = faults_of(folder, changed(space=without, config__contrast=closed))
    assert [fault.split(": ")[1] for fault in faults] == ["space.contrast.memory_size", "space.contrast.memory"]


def test_a_value_unused_under_its_own_condition(folder: Path) -> None:
    document = changed()
    document["space"]["contrast.pixel_update_freq"] = {
        "type": "int",
        "low": 1,
        "high": 9,
        "when": {"contrast.memory": False},
    }
    (fault,) = faults_of(folder, document)
    assert "space.contrast.pixel_update_freq: no trial would use it: contrast.memory is false" in fault


def test_values_that_no_trial_uses_are_said(folder: Path) -> None:
    weights = {"ce_weights": [1, 5, 10, 10], "ce_weight_power": 0.0}
    spec = spec_of(folder, changed(config__loss=weights, config__optim={"name": "adamw", "momentum": 0.5}))
    assert (
        "loss.ce_weights is given but has no effect: loss.ce_weight_power is 0 (1 takes weights as they are)"
        in spec.notices
    )
    assert "optim.momentum is given but has no effect: optim.name is adamw" in spec.notices
    searched = searching(
        "loss.ce_weight_power", {"type": "float", "low": 0.0, "high": 1.0}, config__loss={"ce_weights": [1, 5, 10, 10]}
    )
    assert not [notice for notice in spec_of(folder, searched).notices if "ce_weight" in notice]


def test_shared_iterations_of_a_search_are_not_without_effect(folder: Path) -> None:
    document = changed(config__train={**BASE["config"].get("train", {}), "shared_iters": 5})
    assert not spec_of(folder, document).notices


def test_of_a_file_that_a_program_wrote_only_changed_values_are_said(folder: Path) -> None:
    config = spec_of(folder, changed(config__optim={"name": "adamw"})).config
    del config["data"]["augmentation"]["fit"]  # as an earlier version wrote it
    assert not spec_of(folder, changed(config=config)).notices
    config["optim"]["momentum"] = 0.5
    assert spec_of(folder, changed(config=config)).notices == (
        "optim.momentum is given but has no effect: optim.name is adamw",
    )
