"""What the processes of `test_distributed.py` run; a module of its own, so they can import it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from conftest import backbone
from torch import Tensor, nn

import solo_bayesncl
from solo_bayesncl.adapters import adapter
from solo_bayesncl.recipes.method_kwargs import CONTRASTIVE
from solo_bayesncl.training.sync_batchnorm import SyncBatchNorm

# (layer, shape of the rows of all processes)
LAYERS = {
    "of vectors": (lambda: nn.BatchNorm1d(5), (9, 5)),
    "without weights": (lambda: nn.BatchNorm1d(5, affine=False), (9, 5)),
    "of sequences": (lambda: nn.BatchNorm1d(5), (9, 5, 4)),
    "of images": (lambda: nn.BatchNorm2d(3), (9, 3, 4, 2)),
    "averaging all batches": (lambda: nn.BatchNorm2d(3, momentum=None), (9, 3, 4, 2)),
    "without running statistics": (
        lambda: nn.BatchNorm2d(3, track_running_stats=False),
        (9, 3, 4, 2),
    ),
    "of volumes": (lambda: nn.BatchNorm3d(2), (9, 2, 2, 3, 2)),
    "in a network": (lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU()), (9, 5)),
}
OWN_ROWS = (slice(0, 6), slice(6, 9))  # of two processes


def two_steps(name: str, rows: slice, prepare) -> dict[str, dict[str, Tensor]]:
    """Outputs, gradients and state after two steps in training, and an output in evaluation."""
    build, shape = LAYERS[name]
    torch.manual_seed(0)
    layer = prepare(build().double())
    batches = [(3 + 2 * torch.randn(shape, dtype=torch.float64))[rows] for _ in range(3)]
    found: dict[str, dict[str, Tensor]] = {"rows": {}, "summed": {}}
    for step, batch in enumerate(batches[:2]):
        batch.requires_grad_()
        out = layer(batch)
        (out.sin() + out**3).sum().backward()
        found["rows"][f"output {step}"] = out.detach()
        found["rows"][f"gradient {step}"] = batch.grad
    found["summed"] = {key: value.grad for key, value in layer.named_parameters()}
    if "running" not in name:
        found["rows"]["evaluated"] = layer.eval()(batches[2]).detach()
    found["state"] = dict(layer.state_dict())
    return found


METHODS = ("simclr", "bayesncl", "bayesncl_mocov2plus", "bayesncl_nnclr", "bayesncl_supcon")
OWN_SETTINGS = {"queue_size": 24, "pred_hidden_dim": 24}
HALVES = (slice(0, 4), slice(4, 8))  # of a batch, for two processes


class Place:
    """What a method asks of Lightning's trainer in a step."""

    def __init__(self, rank: int):
        self.global_rank = rank
        self.world_size = dist.get_world_size() if dist.is_initialized() else 1


def train(method: str, rows: slice = slice(None), rank: int = 0) -> dict[str, dict[str, Tensor]]:
    """Losses and gradients, means over the processes, of three steps in float64, and the state."""
    from test_methods import batch

    model = small_model(method).double()
    model.log = model.log_dict = lambda *_, **__: None
    place = Place(rank)
    model.trainer = place
    if dist.is_initialized():
        SyncBatchNorm().apply(model)
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(weights.values(), lr=0.1)
    indexes, views, targets = batch()
    found: dict[str, dict[str, Tensor]] = {"losses": {}, "gradients": {}}
    for step in range(3):
        shown = [view[rows, :, :16, step : step + 16].double() for view in views]
        optimizer.zero_grad()
        # not the first of an epoch, where metrics are measured
        loss = model.training_step([indexes[rows], shown, targets[rows]], 1 + step)
        loss.backward()
        found["losses"][str(step)] = _mean(loss.detach())
        for name, weight in weights.items():
            weight.grad = _mean(weight.grad)
            found["gradients"][f"{name} {step}"] = weight.grad.clone()
        optimizer.step()
        for pair in getattr(model, "momentum_pairs", []):
            model.momentum_updater.update(*pair)
    found["state"] = dict(model.state_dict())
    return found


def small_model(method: str) -> nn.Module:
    """A method of any kind on one convolution, in training mode."""
    from test_methods import config

    solo_bayesncl.register()
    cfg = config(method)
    own = CONTRASTIVE.get(method.rpartition("_")[2])
    cfg.method_kwargs.update({key: OWN_SETTINGS[key] for key in own.model_fields} if own else {})
    if method != "simclr":
        cfg.method_kwargs.balance_weight = 0.1
    cfg.momentum = {"base_tau": 0.5}
    torch.manual_seed(0)
    with small_backbone():
        return adapter().build(cfg).train()


@contextmanager
def small_backbone() -> Iterator[None]:
    """One convolution under the name resnet18."""

    def small(*_, **__) -> nn.Module:
        layers = [nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        model.inplanes = 8
        return model

    with backbone(small):
        yield


def _mean(value: Tensor) -> Tensor:
    if dist.is_initialized():
        dist.all_reduce(value)
        value = value / dist.get_world_size()
    return value


def batch_norm(rank: int) -> dict:
    """Every layer, in one of two processes with unequal numbers of rows."""
    return {name: two_steps(name, OWN_ROWS[rank], SyncBatchNorm().apply) for name in LAYERS}


def methods(rank: int) -> dict:
    """Every method, in one of two processes with half of the batch."""
    return {name: train(name, HALVES[rank], rank) for name in METHODS}
