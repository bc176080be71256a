"""Checks before the first trial that need more than the space file."""

from typing import Any

from optuna.distributions import CategoricalDistribution
from pydantic import ValidationError
from ray import tune

from raysearch.config.trainable_loading import LoadedTrainable
from raysearch.config.values import show
from raysearch.errors import Fault, InputError
from raysearch.search.warm_start import read_prior
from raysearch.space.parameters import combinations, probes, with_gates_open
from raysearch.space.spec import SearchSpec
from trainables.dotted_paths import with_values
from trainables.plurals import counted
from trainables.protocol import ChecksCombinations, ChecksSplit


def preflight(spec: SearchSpec) -> list[str]:
    """Return notices about the trainable and the sources of a warm start, one line each.

    Raises:
        InputError: the data, the choices or the sources of a warm start have faults.
    """
    notices: list[str] = []
    faults: list[Fault] = []
    for look in (trainable_notices, lambda spec: read_prior(spec).notices):
        try:
            notices += look(spec)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return notices


def faults_of_config(trainable: LoadedTrainable, config: dict[str, Any]) -> list[Fault]:
    """Return the faults of a base config that its data and its network reveal, as far as its other values permit."""
    if trainable.preflight is None:
        return []
    model = trainable.config_model
    try:
        trainable.preflight(config if model is None else model.model_validate(config))
    except InputError as error:
        return list(error.faults)
    return []


def trainable_notices(spec: SearchSpec) -> list[str]:
    """Return the notices of the trainable about the config and about every choice in the space.

    Raises:
        InputError: the data, the weights or the choices have faults.
    """
    loaded = spec.trainable
    if isinstance(loaded.target, type) and not issubclass(loaded.target, tune.Trainable):
        what = f"{loaded.target.__name__} is not a subclass of ray.tune.Trainable"
        raise InputError(
            [Fault(f"trainable: {loaded.name}", what, "subclass it, or name a function that takes a config")]
        )
    if loaded.preflight is None:
        return []
    if loaded.config_model is None:
        return list(loaded.preflight(spec.config))
    notices = list(loaded.preflight(loaded.config_model.model_validate(spec.config)))
    faults = _faults_of_test_images(spec)
    for parameter in spec.parameters:
        if not isinstance(parameter.distribution, CategoricalDistribution):
            continue
        for words, choice in probes(parameter.distribution):
            values = with_gates_open({}, parameter, choice, spec.parameters_in_order, spec.config)
            try:
                loaded.preflight(loaded.config_model.model_validate(with_values(spec.config, values)))
            except ValidationError:
                continue  # invalid with the base config alone; the survey found a valid config
            except InputError as error:
                for fault in error.faults:
                    what = fault.what if fault.where == parameter.path else f"{fault.where}: {fault.what}"
                    faults.append(Fault(f"space: {parameter.path}: {words}", what, fault.fix))
    faults = faults or _faults_of_combinations(spec)
    if faults:
        raise InputError(faults)
    return notices


def _faults_of_combinations(spec: SearchSpec) -> list[Fault]:
    """Return the first combination of searched values that the trainable rejects, with the number of all such ones."""
    target: Any = spec.trainable.target
    model = spec.trainable.config_model
    if not isinstance(target, ChecksCombinations) or model is None:
        return []
    found: list[tuple[dict[str, Any], Fault]] = []
    tried = 0
    for values in combinations(spec.parameters_in_order, target.COMBINED, spec.config):
        if not spec.allows(values):
            continue
        try:
            config = model.model_validate(with_values(spec.config, values))
        except ValidationError:
            continue  # the survey of the space reports this
        tried += 1
        try:
            target.check_combination(config)
        except InputError as error:
            found += [(values, fault) for fault in error.faults]
    if not found:
        return []
    values, fault = found[0]
    told = ", ".join(f"{path} = {show(value)}" for path, value in values.items())
    more = f" ({len(found)} of {counted(tried, 'combination')} tried)" if len(found) > 1 else ""
    fix = f"{fault.fix}; or exclude such combinations by constraints"
    return [Fault(f"space: {told}", f"{fault.what}{more}", fix)]


def _faults_of_test_images(spec: SearchSpec) -> list[Fault]:
    """Return the faults of the test images, if the search will be confirmed on them."""
    if spec.search.confirm is None or spec.search.confirm.split != "test":
        return []
    target: Any = spec.trainable.target
    if not isinstance(target, ChecksSplit):
        return []
    try:
        target.check_split(spec.trainable.config_of(spec.config), "test")
    except InputError as error:
        return [Fault(f"search.confirm.split: test: {fault.where}", fault.what, fault.fix) for fault in error.faults]
    return []
