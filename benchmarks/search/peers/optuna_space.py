"""A space as Optuna's users write it: values are suggested where their conditions hold."""

from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from raysearch.space.spec import SearchSpec


def suggest(trial: optuna.Trial, spec: SearchSpec) -> dict[str, Any]:
    """Suggest every active value of a space."""
    values: dict[str, Any] = {}
    for parameter in spec.parameters_in_order:
        if parameter.active(values, spec.config):
            match parameter.distribution:
                case CategoricalDistribution(choices=choices):
                    values[parameter.path] = trial.suggest_categorical(parameter.path, choices)
                case FloatDistribution(low=low, high=high, step=step, log=log):
                    values[parameter.path] = trial.suggest_float(parameter.path, low, high, step=step, log=log)
                case IntDistribution(low=low, high=high, step=step, log=log):
                    values[parameter.path] = trial.suggest_int(parameter.path, low, high, step=step, log=log)
    return values
