"""A process that is told to end: its children and theirs end first, what is ignored stays ignored, and afterwards all is as before."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from utils.core.paths import ROOT
from utils.running.interruptions import SIGNALS, heed_signals


@pytest.fixture(autouse=True)
def as_from_a_terminal() -> Iterator[None]:
    """These tests may themselves run where signals are ignored, in the background or under nohup."""
    former = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_ends_children_and_theirs(number: signal.Signals) -> None:
    before = [signal.getsignal(other) for other in SIGNALS]
    child = subprocess.Popen(["sh", "-c", "trap '' INT TERM HUP; sleep 600 & sleep 600"], start_new_session=True)
    while len(family := psutil.Process(child.pid).children(recursive=True)) < 2:
        time.sleep(0.01)
    with heed_signals() as interruption:
        assert interruption.signal == ""
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(5)
    assert (
        interruption.describe(" in 04")
        == f"\ninterrupted by {number.name} in 04; the same command goes on where it stopped"
    )
    assert not psutil.pid_exists(child.pid) and not psutil.wait_procs(family, timeout=5)[1]
    child.wait(5)
    assert [signal.getsignal(other) for other in SIGNALS] == before


def test_what_is_ignored_stays_ignored() -> None:
    """As under nohup, and for a background process of a shell without job control."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGHUP, former)
        with heed_signals() as interruption:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert interruption.signal == "" and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_second_signal_ends_a_call_that_waits() -> None:
    """Where a library goes on waiting for a download, say, before it lets the interruption through."""
    code = (
        "import time\nfrom utils.running.interruptions import heed_signals\n"
        "with heed_signals():\n    try:\n        print('ready', flush=True); time.sleep(600)\n"
        "    finally:\n        print('waiting', flush=True); time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    call = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    for line in ("ready", "waiting"):
        assert call.stdout is not None and call.stdout.readline() == f"{line}\n"
        call.send_signal(signal.SIGTERM)
    assert call.wait(10) == 1
