"""Tests of the tools: each searches a small table, and what it names comes from what it saw."""

import pytest

from benchmarks.search import tables, tools
from benchmarks.search.simulation import Simulation
from benchmarks.search.tools import OWN, RULE, SCORE, TOOLS

EXPENSIVE = {"BoTorch qLogNEI", "Syne Tune ASHACQR", "SMAC3 multi-fidelity", "NePS PriorBand"}


@pytest.mark.parametrize(
    "name", [*sorted(TOOLS.keys() - EXPENSIVE), *(pytest.param(n, marks=pytest.mark.slow) for n in EXPENSIVE)]
)
@pytest.mark.parametrize("table", ["branin", "conditional-14"])
def test_a_search_of_every_tool(name: str, table: str) -> None:
    if not tools.is_installed(name):
        pytest.skip(f"{TOOLS[name].needs} is not installed")
    source = tables.table(table, None)
    world = source.world(0)
    tool = tools.opened(name, source.task, 0, {})
    outcome = Simulation(tool, source.task, world, 4, [5, 10]).run()
    assert outcome.num_trials >= 10
    assert set(outcome.regrets) == {OWN, RULE, SCORE}
    named = tool.named()[OWN]
    assert named is not None
    spec = source.task.spec(seed=0)
    assert set(named) == {p.path for p in spec.parameters if p.active(named, spec.config)}
    assert outcome.regrets[SCORE][-1] < 1.0
