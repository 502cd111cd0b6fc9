"""The processes of a distributed job: this one's rank, their number, and collective operations. All work in a single process too."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from utils.core.settings import split_hosts


@dataclass(frozen=True)
class Topology:
    """Where processes run. `hosts` are machines that share this folder, this one first; empty = this machine only."""

    ranks: int = 1  # processes per machine; 0 = one per visible GPU
    hosts: tuple[str, ...] = ()
    shell: str = "ssh"  # what runs a command on another machine, given its name and the command

    @property
    def count(self) -> int:
        """Number of processes per machine."""
        if self.ranks:
            return self.ranks
        return max(1, torch.cuda.device_count())

    @property
    def single(self) -> bool:
        """Whether there is one process only."""
        return self.count == 1 and len(self.hosts) < 2


SINGLE_PROCESS = Topology()


def parse_topology(ranks: int, hosts: str, shell: str) -> Topology:
    """The topology of a notebook's parameters; host names are separated by commas."""
    return Topology(ranks, tuple(split_hosts(hosts)), shell)


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the first, the only one that writes files and prints."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process has called this."""
    if world() > 1:
        dist.barrier()


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum of all processes' tensors, written into `values`."""
    if world() > 1:
        dist.all_reduce(values)
    return values


def broadcast_decision(decision: bool) -> bool:
    """The first process's decision, for all: clocks differ, yet all processes must do the same."""
    if world() == 1:
        return decision
    flag = torch.tensor([decision], dtype=torch.int32)
    dist.broadcast(flag, 0)
    return bool(flag.item())


def any_of(decision: bool) -> bool:
    """Whether any process decides so."""
    return bool(all_reduce_sum(torch.tensor([int(decision)])).item())
