"""One process or several that work as one: which is this, and what do all of them know together. Alone, each answer is trivial."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where processes run. `hosts` are machines that share this folder, this one first; none is this machine alone."""

    ranks: int = 1  # processes a machine; 0 = one a visible GPU
    hosts: tuple[str, ...] = ()
    shell: str = "ssh"  # what runs a command on another machine, given its name and the command

    @property
    def count(self) -> int:
        """Processes a machine."""
        if self.ranks:
            return self.ranks
        return max(1, torch.cuda.device_count())

    @property
    def single(self) -> bool:
        return self.count == 1 and len(self.hosts) < 2


HERE = Places()


def open_places(ranks: int, hosts: str, shell: str) -> Places:
    """The places that parameters describe; hosts are separated by commas."""
    return Places(ranks, tuple(name.strip() for name in hosts.split(",") if name.strip()), shell)


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first() -> bool:
    """Whether this process is the one that writes files and speaks."""
    return rank() == 0


def wait() -> None:
    """Until every process has come here."""
    if world() > 1:
        dist.barrier()


def add_up(values: Tensor) -> Tensor:
    """The sum of every process's tensor, in place."""
    if world() > 1:
        dist.all_reduce(values)
    return values


def follow(decision: bool) -> bool:
    """What the first process has decided: clocks differ, and all must do the same."""
    if world() == 1:
        return decision
    told = torch.tensor([decision], dtype=torch.int32)
    dist.broadcast(told, 0)
    return bool(told.item())
