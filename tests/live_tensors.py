"""Live tensor bytes: a tracker of the memory that tensors on the CPU hold, whose allocator keeps no peak."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveTensorTracker(TorchDispatchMode):
    """Counts the bytes of all storages that are alive inside its `with` block, those from before it included.

    Every operation passes through `__torch_dispatch__`, below autograd, so tensors saved for the backward pass and
    temporary results are seen; what a single kernel allocates inside itself is not. A storage counts once, however many
    tensors view it, and is taken off when its last tensor is gone.

    peak: the most bytes at once, since it was entered. peak_composition: at the peak, the bytes by the operation that
    made them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.current = self.peak = 0
        self.peak_composition: Counter[str] = Counter()
        # {address of a storage: (its weak reference, bytes, operation)}
        self._storages: dict[int, tuple[weakref.ref[torch.UntypedStorage], int, str]] = {}
        self._live: Counter[str] = Counter()
        self._snapshot_at = 0

    def __enter__(self) -> LiveTensorTracker:
        gc.collect()
        for candidate in gc.get_objects():
            if issubclass(type(candidate), torch.Tensor):  # `isinstance` would wake lazy modules
                self._add(candidate, "before")
        super().__enter__()
        return self

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        name = str(func)
        for leaf in tree_iter(outputs):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf, name)
        return outputs

    def _add(self, tensor: torch.Tensor, name: str) -> None:
        if tensor.device.type == "meta" or isinstance(tensor, FakeTensor):  # fake ones are left over from compiling
            return
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # sparse tensors and wrappers have none of their own
            return
        key, size = storage._cdata, storage.nbytes()
        if key in self._storages or not size:
            return
        self._storages[key] = (weakref.ref(storage, lambda _: self._remove(key)), size, name)
        self._live[name] += size
        self.current += size
        if self.current > self.peak:
            self.peak = self.current
            if self.current > 1.01 * self._snapshot_at:  # a copy at every new peak would be slow
                self._snapshot_at = self.current
                self.peak_composition = Counter(self._live)

    def _remove(self, key: int) -> None:
        _, size, name = self._storages.pop(key)
        self._live[name] -= size
        self.current -= size
