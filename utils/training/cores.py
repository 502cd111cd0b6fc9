"""What a machine without a GPU works on at once: one job per core, on one thread each."""

import os

JOB_MEMORY = 4_000_000_000  # bytes of a job on a CPU, with a margin


def count_cores() -> tuple[int, float]:
    """Cores that train side by side, one job each, as far as memory reaches; and the machine's memory in bytes.

    Of this process's share of the machine's cores, where it has less than all.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, memory // JOB_MEMORY)), memory
