"""Optuna's own test cases for importance evaluators."""

from collections.abc import Callable

import pytest
from optuna.importance import BaseImportanceEvaluator
from optuna.testing.pytest_importance import BasicImportanceEvaluatorTestCase, NonConditionalImportanceEvaluatorTestCase

from raysearch.results.fanova import MainEffectsEvaluator


class TestMainEffectsEvaluator(BasicImportanceEvaluatorTestCase, NonConditionalImportanceEvaluatorTestCase):
    @pytest.fixture
    def evaluator(self) -> Callable[..., BaseImportanceEvaluator]:
        return MainEffectsEvaluator
