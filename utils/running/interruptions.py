"""A call that is told to end: by Ctrl-C, by a scheduler, by a terminal that is closed."""

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Interruption:
    """Which signal has told this process to end; empty so long as none has."""

    signal: str = ""

    def describe(self, place: str = "") -> str:
        """The line that a call ends with."""
        return f"\ninterrupted by {self.signal}{place}; the same command goes on where it stopped"


@contextlib.contextmanager
def heed_signals() -> Iterator[Interruption]:
    """Let the first signal of `SIGNALS` end all processes that this one has started, then raise KeyboardInterrupt here; a second one
    ends this process at once, whatever a library still waits for.

    Files are written atomically, so no process needs time to put anything in order. A signal that is ignored when the call starts,
    as under nohup, stays ignored.
    """
    interruption = Interruption()

    def stop(number: int, frame: FrameType | None) -> None:
        for other in former:
            signal.signal(other, lambda *_: os._exit(1))
        interruption.signal = signal.Signals(number).name
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # the kernel's client leaves its tasks unfinished
        end_children()
        raise KeyboardInterrupt

    former = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    for number in former:
        signal.signal(number, stop)
    try:
        yield interruption
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def end_children() -> None:
    """End this process's children and theirs, and wait for the former."""
    own = psutil.Process()
    children = own.children()
    for process in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended, or is another person's
            process.kill()
    psutil.wait_procs(children, timeout=10)
