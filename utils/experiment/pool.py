"""Independent jobs on a machine's devices, each step of a job in a process of its own, so that nothing leaks into the next.

Results are the same for any number of devices.
"""

import contextlib
import io
import multiprocessing as mp
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

from tqdm.auto import tqdm

from utils.core.progress import Style, duration
from utils.experiment import devices

SHARE = -1
PRELOAD = ["utils.experiment.jobs"]  # imported once, by the process that every worker is forked from


@dataclass(frozen=True)
class Call:
    """A function of a module, and its arguments."""

    function: Callable[..., None]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Task:
    """Calls that are made one after the other on one device, each by a process of its own.

    `cost` is relative: the most expensive start first. `shares` are calls that do parts of the last one beforehand; they are made
    where other devices would have nothing to do meanwhile.
    """

    title: str
    calls: tuple[Call, ...]
    cost: float = 1.0
    shares: tuple[Call, ...] = ()


@dataclass
class _Run:
    """A task that has a device: which of its calls is being made, by which process, and since when it runs."""

    task: Task
    device: str
    start: float
    process: BaseProcess
    number: int  # of the call; SHARE = one of the shares


class WorkerError(RuntimeError):
    """A worker failed; the message names its task and its error."""


@dataclass
class Clock:
    """Foretells when all tasks will be done, from the costs and seconds of those that are."""

    total: float  # cost of all tasks
    devices: int
    cost: float = 0.0  # of the finished ones
    seconds: float = 0.0
    finished: int = 0

    def note(self, cost: float, seconds: float) -> None:
        """A task has finished."""
        self.cost += cost
        self.seconds += seconds
        self.finished += 1

    def estimate(self, running: list[float]) -> float:
        """Seconds until all is done, where tasks have been running for these seconds."""
        if not self.cost:
            return 0.0
        work = (self.total - self.cost) * self.seconds / self.cost - sum(running)
        return max(0.0, work) / self.devices


def run(tasks: Sequence[Task], places: Sequence[str], style: Style, bind: Callable[[str], None] = devices.bind) -> None:
    """Run tasks on devices (`places`), one on each at a time, the most expensive first, and print what they print, line by line.

    `bind` is what a worker does first with the name of its device. Raises WorkerError with the first error of a worker, after
    the others have been ended; what finished before stays.
    """
    queue = sorted(tasks, key=lambda task: -task.cost)
    with tqdm(total=len(queue), unit="job", disable=style != "bar") as bar:
        clock = Clock(sum(task.cost for task in tasks), len(places))
        pool = _Pool(list(reversed(places)), style, bind, bar, clock, len(tasks), queue)
        try:
            while queue or pool.running or pool.shares:
                while (pool.shares or queue) and pool.free:
                    if pool.shares:
                        task, call, since = pool.shares.pop(0)
                        pool.start(task, call, pool.free.pop(), since, SHARE)
                    else:
                        pool.go_on(queue.pop(0), pool.free.pop(), time.monotonic(), 0)
                for inlet in wait(list(pool.running)):
                    pool.attend(inlet)
        finally:
            pool.end()


@dataclass
class _Pool:
    """The tasks that run, those that wait, and the devices that are free."""

    free: list[str]
    style: Style
    bind: Callable[[str], None]
    bar: tqdm
    clock: Clock
    count: int  # of all tasks
    queue: list[Task]
    running: dict[Connection, _Run] = field(default_factory=dict)
    shares: list[tuple[Task, Call, float]] = field(default_factory=list)  # that wait for a device
    left: dict[str, int] = field(default_factory=dict)  # title -> its shares that are not done

    def go_on(self, task: Task, device: str, since: float, number: int) -> None:
        """Start a task's next call on its device; its shares first where other devices are free and nothing else waits."""
        if (
            number + 1 == len(task.calls)
            and task.shares
            and self.free
            and not self.queue
            and task.title not in self.left
        ):
            self.left[task.title] = len(task.shares)
            self.shares += [(task, call, since) for call in task.shares]
            self.free.append(device)
        else:
            self.start(task, task.calls[number], device, since, number)

    def start(self, task: Task, call: Call, device: str, since: float, number: int) -> None:
        """Start the process of one call."""
        # What a fork server imports may ask CUDA for its devices, after which no process forked from it can use any.
        context = mp.get_context("spawn" if device.startswith("cuda") else "forkserver")
        if isinstance(context, ForkServerContext):
            context.set_forkserver_preload(PRELOAD)
        inlet, outlet = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(call, device, self.bind, outlet), daemon=True)
        process.start()
        outlet.close()
        self.running[inlet] = _Run(task, device, since, process, number)

    def attend(self, inlet: Connection) -> None:
        """Show a process's message; where it has ended, start its task's next call, or give its device free.

        Raises WorkerError where it failed.
        """
        own = self.running[inlet]
        if _receive(inlet, own.task, self.bar, self.style):
            return
        own.process.join()
        del self.running[inlet]
        _check(own.task, own.process.exitcode)
        if own.number == SHARE:
            self.left[own.task.title] -= 1
            if self.left[own.task.title]:
                self.free.append(own.device)
            else:
                self.go_on(own.task, own.device, own.start, len(own.task.calls) - 1)
            return
        if own.number + 1 < len(own.task.calls):
            self.go_on(own.task, own.device, own.start, own.number + 1)
            return
        self.free.append(own.device)
        seconds = time.monotonic() - own.start
        self.clock.note(own.task.cost, seconds)
        self.bar.update()
        if self.style == "lines":
            rest = self.clock.estimate([time.monotonic() - other.start for other in self.running.values()])
            eta = f", all in {duration(rest)}" if self.clock.finished < self.count else ""
            print(f"  [{self.clock.finished}/{self.count}] {own.task.title}: {seconds:.0f} s{eta}", flush=True)

    def end(self) -> None:
        """End what still runs."""
        for own in self.running.values():
            own.process.terminate()
        for own in self.running.values():
            own.process.join()


def _receive(inlet: Connection, task: Task, bar: tqdm, style: Style) -> bool:
    """Show one message of a worker; whether there was one. Raises WorkerError for its error."""
    try:
        kind, text = inlet.recv()
    except EOFError:
        return False
    if kind == "error":
        raise WorkerError(f"{task.title}: {text}")
    if style == "bar":
        bar.set_postfix_str(text.strip())
    elif style == "lines" or text.startswith("notice"):
        print(text, flush=True)
    return True


def _check(task: Task, exitcode: int) -> None:
    """Raises WorkerError for a worker that ended without telling why."""
    if exitcode:
        hint = "; out of memory is the usual cause" if exitcode == -9 else ""
        raise WorkerError(
            f"{task.title}: its process ended with {exitcode}{hint}; the same command goes on from its last checkpoint"
        )


class _Lines(io.TextIOBase):
    """A stream that sends each whole line to the parent process."""

    def __init__(self, outlet: Connection) -> None:
        self.outlet, self.rest = outlet, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.outlet.send(("line", line))
        return len(text)


def _work(call: Call, device: str, bind: Callable[[str], None], outlet: Connection) -> None:
    """A worker's life: one call."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        bind(device)
        with contextlib.redirect_stdout(_Lines(outlet)):
            call.function(*call.arguments)
    except BaseException as error:
        traceback.print_exc()
        outlet.send(("error", f"{type(error).__name__}: {error}"))
        os._exit(1)
    outlet.close()
    os._exit(0)  # at once: threads that libraries still hold may abort a regular exit


def _end_with_parent() -> None:
    """End this process when its parent does, however that ended."""
    mp.parent_process().join()
    os._exit(1)
