"""CUDA tensors without CUDA: they say that they are on a GPU, and compute on the CPU.

Within `EmulatedCuda`, `device="cuda"` makes such tensors. As on a real GPU, an operation on tensors
of different devices is refused, and whatever makes the CPU wait for the GPU is noted. Unlike fake
tensors of torch, these have values, so numbers can be compared. Speed, memory, streams and kernels
are not emulated, and there is no backward pass: the autograd engine asks for a driver.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
aten = torch.ops.aten

# their result, or its shape, is needed on the CPU
WAITING = (
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.bincount.default,
)
COPIES = (aten.copy_.default, aten._to_copy.default)


class CudaTensor(Tensor):
    """A tensor on the emulated GPU; its values are in `values`, on the CPU."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> "CudaTensor":
        self = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=CUDA,
        )
        self.values = values
        return self

    def __repr__(self) -> str:
        return f"CudaTensor({self.values})"

    def tolist(self) -> list:
        return self.cpu().tolist()  # torch's own knows no subclasses

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} on an emulated CUDA tensor outside of `EmulatedCuda`")


class EmulatedCuda(TorchDispatchMode):
    """While it is entered, the emulated GPU is there.

    Attributes:
        waits: names of the operations for which the CPU had to wait for the GPU.
    """

    def __init__(self):
        super().__init__()
        self.waits: list[str] = []

    @contextmanager
    def _initialised(self) -> Iterator[None]:
        before = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor` fills on the CPU, then moves
        torch._C._ensureCUDADeviceGuardSet()
        swap = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)  # in `module.to`
        try:
            with patch("torch.cuda._lazy_init"), torch.backends.cudnn.flags(enabled=False):
                yield
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swap)
            torch._C._set_only_lift_cpu_tensors(before)

    def __enter__(self) -> "EmulatedCuda":
        self._initialising = self._initialised()
        self._initialising.__enter__()
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self._initialising.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_gpu = [tensor for tensor in tensors if isinstance(tensor, CudaTensor)]
        if on_gpu and func not in COPIES:
            _require_one_device(func, tensors)
        device = torch.device(kwargs.get("device") or (CUDA if on_gpu else CPU))
        if self._waits(func, args, device, kwargs):
            self.waits.append(str(func))
        if "device" in kwargs:
            kwargs["device"] = CPU
        if func.namespace == "c10d" and (on_gpu or func is torch.ops.c10d.barrier.default):
            return self._collective(func, args, kwargs)
        out = func(*tree_map(_values, args), **tree_map(_values, kwargs))
        if func is aten._local_scalar_dense.default:
            return out
        if func is aten.copy_.default:
            return args[0]
        if device.type == "cuda":
            out = tree_map(lambda x: CudaTensor(x) if isinstance(x, Tensor) else x, out)
        return return_and_correct_aliasing(func, args, kwargs, out) if on_gpu else out

    @cached_property
    def _group(self) -> dist.ProcessGroup:
        return dist.new_group(backend="gloo")

    def _collective(self, func, args: tuple, kwargs: dict):
        """As in a group of one process, by another that has a backend for the CPU.

        On float64 copies, as gloo averages no integers.
        """
        copies: list[tuple[CudaTensor, Tensor]] = []

        def replaced(arg):
            if isinstance(arg, CudaTensor):
                copies.append((arg, arg.values.double()))
                return copies[-1][1]
            is_group = isinstance(arg, torch.ScriptObject) and "ProcessGroup" in str(arg._type())
            return self._group.boxed() if is_group else arg

        out = func(*tree_map(replaced, args), **kwargs)
        for work in tree_leaves(out):
            if isinstance(work, torch.ScriptObject):
                dist.Work.unbox(work).wait()
        for tensor, copy in copies:
            tensor.values.copy_(copy)
        return out

    @staticmethod
    def _waits(func, args: tuple, device: torch.device, kwargs: dict) -> bool:
        if func is aten._to_copy.default:
            from_gpu = isinstance(args[0], CudaTensor)
            return from_gpu != (device.type == "cuda") and not kwargs.get("non_blocking")
        if func is aten.copy_.default:
            target, source, *blocking = args
            same = isinstance(target, CudaTensor) == isinstance(source, CudaTensor)
            return not same and not any(blocking)
        if not any(isinstance(leaf, CudaTensor) for leaf in tree_leaves(args)):
            return False
        if func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
            return any(i is not None and i.dtype is torch.bool for i in args[1])
        return func in WAITING


def _values(x):
    return x.values if isinstance(x, CudaTensor) else x


def _require_one_device(func, tensors: list[Tensor]) -> None:
    """Scalars on the CPU may take part in anything, as on a real GPU."""
    if any(not isinstance(tensor, CudaTensor) and tensor.dim() > 0 for tensor in tensors):
        devices = [f"{tensor.device} {tuple(tensor.shape)}" for tensor in tensors]
        raise RuntimeError(f"{func}: tensors on different devices, {', '.join(devices)}")


def on_cuda(x):
    """Tensors of a batch, moved to the emulated GPU; within `EmulatedCuda`."""
    return tree_map(lambda leaf: leaf.to(CUDA) if isinstance(leaf, Tensor) else leaf, x)
