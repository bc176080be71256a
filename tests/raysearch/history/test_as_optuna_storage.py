"""Optuna's own test cases of a storage, on a journal whose lines are written here and read by Optuna."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.testing.pytest_storages import StorageTestCase

from raysearch.history.journal import Journal, read_records


class _Written(BaseJournalBackend):
    """A backend that appends as a search does and reads as optuna-dashboard does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = JournalFileBackend(str(path))

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._reader.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with Journal(self._path) as journal:
            journal.append(logs)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[BaseStorage]:
    """Provide the storage, and check afterwards that every line has its checksum."""
    path = tmp_path / "study.journal"
    yield JournalStorage(_Written(path))
    assert sum(1 for _ in read_records(path)) == path.read_bytes().count(b'"check":"')


class TestJournal(StorageTestCase):
    """All cases of Optuna."""
