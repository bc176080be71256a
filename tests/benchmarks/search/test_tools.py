"""Tests of the tools: each searches a small table, and what it names comes from what it saw."""

import pytest

from benchmarks.search import tables, tools
from benchmarks.search.simulation import Simulation
from benchmarks.search.tools import OWN, RULE, SCORE, SHARING, TOOLS

EXPENSIVE = {"BoTorch qLogNEI", "Syne Tune ASHACQR", "SMAC3 multi-fidelity", "NePS PriorBand"}


CASES = [
    pytest.param(name, table, marks=[pytest.mark.slow] if name in EXPENSIVE else [])
    for name in TOOLS
    for table in ("branin", "conditional-14")
    if (name, table) != (SHARING, "conditional-14")
]


@pytest.mark.parametrize(("name", "table"), CASES)
def test_a_search_of_every_tool(name: str, table: str) -> None:
    if not tools.is_installed(name):
        pytest.skip(f"{TOOLS[name].needs} is not installed")
    source = tables.table(table, None)
    world = source.world(0)
    tool = tools.opened(name, source.task, 0, {})
    outcome = Simulation(tool, source.task, world, 4, [4, 8]).run()
    assert outcome.num_trials >= 8
    assert set(outcome.regrets) == {OWN, RULE, SCORE}
    named = tool.named()[OWN]
    assert named is not None
    spec = source.task.spec(seed=0)
    assert set(named) == {p.path for p in spec.parameters if p.active(named, spec.config)}
    assert outcome.regrets[SCORE][-1] < 1.0
