"""Settings of all tests: one thread (on a busy machine two would wait for each other), no network, separate caches."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["TRAINABLES_CACHE_DIR"] = str(tmp_path_factory.mktemp("decoded"))
