import os
import threading
from pathlib import Path

from trainables.file_locks import locked, try_lock


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    taken = threading.Event()

    def take() -> None:
        with locked(tmp_path / "lock"):
            taken.set()

    thread = threading.Thread(target=take)
    with locked(tmp_path / "lock"):
        thread.start()
        assert not taken.wait(0.1)
    thread.join()
    assert taken.is_set()


def test_a_lock_that_is_held_cannot_be_had(tmp_path: Path) -> None:
    file = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    with locked(tmp_path / "lock"):
        assert not try_lock(file)
    assert try_lock(file)
    os.close(file)
