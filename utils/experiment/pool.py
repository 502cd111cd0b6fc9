"""Independent jobs side by side, each in a process of its own, so that nothing leaks from one into the next.

A process computes on one thread: it has no partner to wait for, so another busy program costs it its share and no more. Results are the
same for any number of workers.
"""

import contextlib
import io
import multiprocessing as mp
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from tqdm.auto import tqdm

from utils.core.progress import Style

PRELOAD = ["utils.experiment.fit"]  # imported once, by the process that every worker is forked from


@dataclass(frozen=True)
class Task:
    """A call that a worker makes: a function of a module, and its arguments. `cost` is relative: the most expensive start first."""

    title: str
    function: Callable[..., None]
    arguments: tuple[Any, ...]
    cost: float = 0.0


class WorkerError(RuntimeError):
    """A worker failed; the message names its task and its error."""


def limit_threads() -> None:
    """Let this process compute on one thread on a CPU. A GPU's process keeps its threads, which wait for nobody."""
    import torch
    from threadpoolctl import threadpool_limits

    if not torch.cuda.is_available():
        torch.set_num_threads(1)
        threadpool_limits(1)


def run(tasks: Sequence[Task], workers: int, style: Style) -> None:
    """Run tasks in `workers` processes at once, the most expensive first, and print what they print, line by line.

    Raises WorkerError with the first error of a worker, after the others have been ended; what finished before stays.
    """
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    queue = sorted(tasks, key=lambda task: -task.cost)
    running: dict[Connection, tuple[Task, Any, float]] = {}
    finished, bar = 0, tqdm(total=len(queue), unit="job", disable=style != "bar")
    try:
        while queue or running:
            while queue and len(running) < workers:
                task = queue.pop(0)
                inlet, outlet = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(task, outlet), daemon=True)
                process.start()
                outlet.close()
                running[inlet] = task, process, time.monotonic()
            for inlet in wait(list(running)):
                task, process, start = running[inlet]
                if _receive(inlet, task, bar, style):
                    continue
                process.join()
                del running[inlet]
                _check(task, process.exitcode)
                finished += 1
                bar.update()
                if style == "lines":
                    print(f"  [{finished}/{len(tasks)}] {task.title}: {time.monotonic() - start:.0f} s", flush=True)
    finally:
        bar.close()
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.join()


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


def _work(task: Task, outlet: Connection) -> None:
    """A worker's life: one task."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limit_threads()
    try:
        with contextlib.redirect_stdout(_Lines(outlet)):
            task.function(*task.arguments)
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
