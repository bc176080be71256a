"""Tests of Ctrl-C and SIGTERM in a run: remembered, raised where nothing can be lost, and at once the second time."""

import os
import signal

import pytest

from raysearch.runs.interruption import Interrupted, Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_until_somebody_asks(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        interruption.check()
        os.kill(os.getpid(), number)
        assert interruption.signal == number
        with pytest.raises(Interrupted):
            interruption.check()
        with pytest.raises(Interrupted), interruption.raised():
            raise AssertionError("a signal that came before is raised at once")
    assert signal.getsignal(number) is before


def test_where_it_may_be_raised_a_signal_interrupts_at_once() -> None:
    with Interruption() as interruption:
        with pytest.raises(Interrupted), interruption.raised():
            os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_with_the_exit_code_of_a_shell(number: signal.Signals) -> None:
    process = os.fork()
    if process == 0:
        with Interruption():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), number)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + number
