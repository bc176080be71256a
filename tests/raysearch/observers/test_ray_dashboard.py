"""Tests of a running search in a real Prometheus, a real Grafana dashboard and a real Ray dashboard."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from raysearch.observers.gauges import SEARCH_GAUGES, TRIAL_GAUGES

HERE = Path(__file__).parents[1]
PROMETHEUS, CHROMIUM = shutil.which("prometheus"), shutil.which("chromium")
GRAFANA: dict[str, Any] = json.loads(
    files("raysearch.observers").joinpath("grafana_dashboard.json").read_text(encoding="utf-8")
)


def expressions() -> list[str]:
    return [target["expr"] for panel in GRAFANA["panels"] for target in panel["targets"]]


def test_every_expression_names_metrics_that_are_exported_and_every_metric_is_shown() -> None:
    exported = {f"ray_{name}" for name in (*TRIAL_GAUGES, *SEARCH_GAUGES)}
    named = {name for expression in expressions() for name in re.findall(r"ray_\w+", expression)}
    assert named == exported
    variables = {variable["name"]: variable for variable in GRAFANA["templating"]["list"]}
    assert set(re.findall(r"ray_\w+", variables["search"]["query"]["query"])) <= exported
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(GRAFANA["panels"]))) == set(variables)


SEARCH = """
import json, sys
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from raysearch.runs import driver
from raysearch.space.parsing import parse_space

# `ray.init` alone gives the agent, which serves the logs, one fixed port, which another Ray may have taken.
options = {"num_cpus": 2, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_agent_listen_port": 0}
cluster = Cluster(initialize_head=True, head_node_args={**options, "dashboard_port": 0})
context = ray.init(cluster.address, log_to_driver=False)
(node,) = ray.nodes()
metrics = f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
print(json.dumps({"dashboard": f"http://{context.dashboard_url}", "metrics": metrics}), flush=True)
document, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
driver.run(parse_space(document, folder), Path(sys.argv[3]), say=lambda line: None)
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Provide the addresses of a running search: trial 0 ends soon, trials 1 and 2 continue until the tests end."""
    folder = tmp_path_factory.mktemp("watched")
    marker = folder / "marker"
    document = {
        "name": "watched",
        "trainable": "trials.py:Waiting",
        "config": {"marker": str(marker)},
        "space": {"x": {"type": "categorical", "choices": [0, 1, 2]}},
        "objective": {"metric": "score", "mode": "max"},
        "search": {"algorithm": "grid", "trials": 3},
        "scheduler": {"name": "none"},
        "resources": {"cpu": 1, "concurrent": 2},
    }
    own = tempfile.mkdtemp(prefix="ray")  # a short path, at which no other test looks for a running Ray
    process = subprocess.Popen(
        [sys.executable, "-c", SEARCH, json.dumps(document), str(HERE), str(folder / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # the tests have no token, and need not wait as long as Ray does
        env={
            **os.environ,
            "RAY_AUTH_MODE": "disabled",
            "RAY_metrics_report_interval_ms": "1000",
            "RAY_TMPDIR": own,
        },
    )
    try:
        assert process.stdout is not None
        yield json.loads(next(line for line in process.stdout if line.startswith("{")))
        marker.touch()
        assert process.wait(600) == 0
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(own, ignore_errors=True)  # Ray's last processes may still write


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 600) -> Any:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.5)
    raise AssertionError(f"{what} does not come")


class Prometheus:
    """A real Prometheus that scrapes this Ray every second."""

    def __init__(self, target: str, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        scrape = {"job_name": "ray", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
        (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
        self._url = f"http://{address}/api/v1/query?query="
        assert PROMETHEUS is not None
        command = [PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)

    def series(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the current value of every series."""
        try:
            with urllib.request.urlopen(self._url + urllib.parse.quote(expression), timeout=300) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            return []
        return [(one["metric"], float(one["value"][1])) for one in result]

    def trials(self, expression: str) -> dict[str, float]:
        """Return the current values by trial."""
        return {labels["trial"]: value for labels, value in self.series(expression)}


@pytest.mark.slow
@pytest.mark.skipif(PROMETHEUS is None, reason="needs prometheus")
def test_prometheus_sees_the_running_trials_alone(watched: dict[str, str], tmp_path: Path) -> None:
    prometheus = Prometheus(watched["metrics"], tmp_path)
    try:
        both = wait_for(
            lambda: found if set(found := prometheus.trials("ray_raysearch_trial_objective")) == {"1", "2"} else None,
            "a scrape with the last two trials",
        )
        assert both == {"1": pytest.approx(0.1, abs=1e-2), "2": pytest.approx(0.2, abs=1e-2)}
        assert prometheus.trials("ray_raysearch_trial_images_per_second") == {"1": 5.0, "2": 5.0}
        assert min(prometheus.trials("ray_raysearch_trial_peak_memory_bytes").values()) > 1e7
        assert min(prometheus.trials("ray_raysearch_trial_iteration").values()) >= 1
        assert {labels["search"] for labels, _ in prometheus.series("ray_raysearch_trial_objective")} == {"watched"}
        statuses = {labels["status"]: value for labels, value in prometheus.series("ray_raysearch_trials")}
        assert statuses["running"] == 2
        assert statuses["completed"] == 1
        for expression in expressions():
            found = prometheus.series(expression.replace("$search", "watched"))
            assert found or "default" in expression, f"{expression} finds nothing"
    finally:
        prometheus.process.terminate()
        prometheus.process.wait(600)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_actors_page_names_workers_and_their_logs_name_the_trial_that_runs(watched: dict[str, str]) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{watched['dashboard']}/#/actors")
        name = page.get_by_text(f"run: worker {socket.gethostname()}:").first
        name.wait_for(timeout=600_000)
        assert page.get_by_text("trial 0").count() == 0, "a worker outlives its first trial"
        browser.close()
    with urllib.request.urlopen(f"{watched['dashboard']}/logical/actors", timeout=300) as answer:
        actors = json.load(answer)["data"]["actors"]
    assert {actor["reprName"] for actor in actors.values()} == {
        f"run: worker {socket.gethostname()}:{actor['pid']}" for actor in actors.values()
    }
    last = set()
    for actor in actors:
        with urllib.request.urlopen(f"{watched['dashboard']}/api/v0/logs/file?actor_id={actor}", timeout=300) as answer:
            last.add([line for line in answer.read().decode().splitlines() if line.startswith("trial ")][-1])
    assert last == {"trial 1: x=1", "trial 2: x=2"}, "trial 0 has ended"
