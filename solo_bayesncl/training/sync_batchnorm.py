"""Batch normalisation over all processes on the CPU: torch's own `SyncBatchNorm` is for GPUs."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from solo_bayesncl.adapters import adapter
from solo_bayesncl.losses import full_precision


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is also a sum over processes, since each of them uses the sum."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _SumOverProcesses.apply(gradient)


class _Synchronised(nn.modules.batchnorm._BatchNorm):
    """In training: mean and variance of the rows of all processes, which may hold unequal numbers.

    Values, gradients and running statistics are those of one process with all rows. In evaluation
    and in a single process it is torch's own layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to the same; float16 and bfloat16 are normalised in float32."""
        several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not (self.training and several):
            return super().forward(x)
        self._check_input_dim(x)
        rows = full_precision(x)
        others = [0, *range(2, rows.ndim)]  # all dimensions but the channels
        shape = (1, -1, *[1] * (rows.ndim - 2))

        # in float64, as torch itself accumulates on the CPU
        own_mean = rows.mean(others, dtype=torch.float64)
        deviations = rows - own_mean.to(rows.dtype).view(shape)
        own_squares = deviations.square().sum(others, dtype=torch.float64)
        own_count = own_mean.new_tensor([rows.numel() // rows.size(1)])
        # one exchange: each process fills its row of a table
        own = torch.cat([own_mean, own_squares, own_count])
        table = own.new_zeros(dist.get_world_size(), len(own))
        table[dist.get_rank()] = own
        table = _SumOverProcesses.apply(table)
        means, squares, counts = table.split([len(own_mean), len(own_mean), 1], dim=1)
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        variance = (squares + counts * (means - mean).square()).sum(0) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))

        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        mean, scale = (value.to(rows.dtype).view(shape) for value in (mean, scale))
        out = (rows - mean) * scale
        if self.bias is not None:
            out = out + self.bias.view(shape)
        return out.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Updates the running statistics as torch does: by `momentum`, or to the mean of all."""
        if self.running_mean is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(variance.to(self.running_var), momentum)


_SYNCHRONISED = {
    plain: type(f"Sync{plain.__name__}", (_Synchronised, plain), {})
    for plain in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
}
_PLAIN = {synchronised: plain for plain, synchronised in _SYNCHRONISED.items()}


class SyncBatchNorm(adapter().pl.plugins.LayerSync):
    """Makes batch-norm layers normalise over all processes, in place; Lightning's plugin.

    The layers stay the same objects: parameters, names in the `state_dict` and hooks are untouched.
    Subclasses of torch's layers, which may do more than normalise, stay as they are.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        return _change_class(model, _SYNCHRONISED)

    def revert(self, model: nn.Module) -> nn.Module:
        return _change_class(model, _PLAIN)


def _change_class(model: nn.Module, classes: dict[type, type]) -> nn.Module:
    for module in model.modules():
        module.__class__ = classes.get(type(module), type(module))
    return model
