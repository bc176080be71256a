"""Everything that can fail before a trial starts and that the space file alone does not tell."""

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
from trainables.config import Config
from trainables.data.preflight import inspect
from trainables.dotted_paths import with_values
from trainables.protocol import ChecksCombinations


def preflight(spec: SearchSpec) -> list[str]:
    """What is worth knowing before anything starts, one line each.

    Raises:
        InputError: every fault of the data, the choices and what the search is to take over.
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
    """What is wrong with a base config by its data and its network, as far as its other values let them be seen."""
    if trainable.preflight is None:
        return []
    model = trainable.config_model
    try:
        trainable.preflight(config if model is None else model.model_validate(config))
    except InputError as error:
        return list(error.faults)
    return []


def trainable_notices(spec: SearchSpec) -> list[str]:
    """Return what the trainable itself has to say, of the config and of every choice in the space.

    Raises:
        InputError: every fault of the data, of the weights, and of the choices.
    """
    loaded = spec.trainable
    if isinstance(loaded.target, type) and not issubclass(loaded.target, tune.Trainable):
        what = f"{loaded.target.__name__} is no subclass of ray.tune.Trainable"
        raise InputError([Fault(f"trainable: {loaded.name}", what, "subclass it, or name a function of a config")])
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
                continue  # together with the base alone; the survey of the space found a config that takes it
            except InputError as error:
                for fault in error.faults:
                    what = fault.what if fault.where == parameter.path else f"{fault.where}: {fault.what}"
                    faults.append(Fault(f"space: {parameter.path}: {words}", what, fault.fix))
    faults = faults or _faults_of_combinations(spec)
    if faults:
        raise InputError(faults)
    return notices


def _faults_of_combinations(spec: SearchSpec) -> list[Fault]:
    """The first combination of searched values that the trainable refuses, with the number of all such ones."""
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
            continue  # the survey of the space tells
        tried += 1
        try:
            target.check_combination(config)
        except InputError as error:
            found += [(values, fault) for fault in error.faults]
    if not found:
        return []
    values, fault = found[0]
    told = ", ".join(f"{path} = {show(value)}" for path, value in values.items())
    more = f" ({len(found)} of {tried} combinations looked at)" if len(found) > 1 else ""
    fix = f"{fault.fix}; or keep such values apart by constraints"
    return [Fault(f"space: {told}", f"{fault.what}{more}", fix)]


def _faults_of_test_images(spec: SearchSpec) -> list[Fault]:
    """What would keep the finished search from being confirmed on the test images, where it is to be."""
    if spec.search.confirm is None or spec.search.confirm.split != "test":
        return []
    data = Config.model_validate(spec.config).data  # a search with another config is not confirmed
    try:
        inspect(data, data.augmentation.crop_size, ("test",))
    except InputError as error:
        return [Fault(f"search.confirm.split: test: {fault.where}", fault.what, fault.fix) for fault in error.faults]
    return []
