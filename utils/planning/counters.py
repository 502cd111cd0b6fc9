"""What a forward and a backward pass take, counted operation by operation: living bytes, bytes moved, floating-point operations."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten
PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm}


class Live(TorchDispatchMode):
    """Counts the bytes of living tensors and their peak; the tensors in `known` are not counted."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def _release(self, key: int) -> None:
        """Stop counting a storage that is freed."""
        self.now -= self.sizes.pop(key)

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in self.sizes:
                self.sizes[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self._release, storage._cdata)
                self.peak = max(self.peak, self.now)
        return output


class Moved(TorchDispatchMode):
    """Counts the bytes that operations read and write, matrix products apart; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        output = function(*args, **(kwargs or {}))
        aliases = [value.alias_info for value in function._schema.returns]
        view = any(alias is not None and not alias.is_write for alias in aliases)
        if not view and function.overloadpacket not in PRODUCTS:
            tensors = [leaf for leaf in tree_leaves([args, kwargs, output]) if isinstance(leaf, Tensor)]
            self.total += sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in tensors)
        return output


def _attention_work(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Operations of attention on a CPU, from the shapes of its arguments; PyTorch counts those of its kernels for GPUs only."""
    return sdpa_flop_count(query, key, value)


def _attention_backward_work(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Those of its backward pass."""
    return sdpa_backward_flop_count(gradient, query, key, value)


ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention_work,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_work,
}


class Work(FlopCounterMode):
    """Counts the floating-point operations of matrix products and of attention."""

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=ATTENTION)
