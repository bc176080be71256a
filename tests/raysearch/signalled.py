"""Runs a command that sends itself a signal at one of its calls, so that no test has to hit a moment from outside."""

import signal
import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import importlib, os, sys, threading, time

module, path, call, number, delay_s = sys.argv[1:6]
owner = importlib.import_module(module)
*outer, name = path.split(".")
for part in outer:
    owner = getattr(owner, part)
original, calls = getattr(owner, name), []


def send():
    time.sleep(float(delay_s))
    os.kill(os.getpid(), int(number))


def signalling(*args, **options):
    result = original(*args, **options)
    calls.append(None)
    if len(calls) == int(call):
        threading.Thread(target=send, daemon=True).start() if float(delay_s) else send()
    return result


setattr(owner, name, signalling)
sys.argv = ["raysearch", *sys.argv[6:]]
from raysearch.__main__ import main
main()
"""


def signalled(
    number: signal.Signals, after: str, call: int, *words: str | Path, delay_s: float = 0.0
) -> subprocess.CompletedProcess[str]:
    """Run `raysearch WORDS` in a process that gets a signal after a call of a function.

    Args:
        number: The signal.
        after: Module and path of the function, separated by a colon.
        call: Number of the call, from 1.
        words: Words of the command.
        delay_s: Time between the call and the signal, in which the command goes on.
    """
    given = [*after.split(":"), call, int(number), delay_s, *words]
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, *map(str, given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
