"""Settings of all tests: one thread (on a busy machine two would wait for each other), no network, caches, one Ray."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import signal
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["TRAINABLES_CACHE_DIR"] = str(tmp_path_factory.mktemp("decoded"))
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """Connect this process to a Ray of two processors, which all its searches use.

    It takes ten seconds to start. No test may stop it.
    """
    import ray

    before = signal.getsignal(signal.SIGTERM)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    signal.signal(signal.SIGTERM, before)
    yield
    ray.shutdown()
