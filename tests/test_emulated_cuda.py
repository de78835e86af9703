"""What a GPU would find, on emulated CUDA tensors: devices, waits, logging under NCCL's rules."""

import math

import pytest
import torch
import torch.multiprocessing as mp
from conftest import record_log
from emulated_cuda import EmulatedCuda, on_cuda, to_cuda
from emulated_cuda_worker import log_an_epoch
from processes_worker import small_model
from test_methods import batch

import solo_bayesncl
from solo_bayesncl.methods import METHODS

solo_bayesncl.register()

# solo-learn reads and writes the place in its queue on the CPU
QUEUES = ("mocov2plus", "nnclr")


def test_the_emulated_gpu_refuses_what_a_gpu_refuses_and_notes_waits():
    with EmulatedCuda() as gpu:
        x = torch.arange(4.0, device="cuda")
        assert x.device.type == "cuda"
        with pytest.raises(RuntimeError, match="different devices"):
            x + torch.ones(4)
        y = (2 * x + torch.tensor(1.0)).to("cpu", non_blocking=True)
        assert gpu.waits == []
        assert y.tolist() == [1.0, 3.0, 5.0, 7.0]
        assert float(x[x > 1].sum()) == 5.0
        assert gpu.waits == ["aten.index.Tensor", "aten._local_scalar_dense.default"]
        assert torch.equal(x.cpu(), torch.arange(4.0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("first", [True, False], ids=["first step", "later step"])
def test_step_on_the_gpu_is_that_on_the_cpu_and_does_not_wait(method, first):
    """All steps but the first of an epoch, with its statistics, which wait for five tensors."""
    on_cpu = small_model(method)
    logged_on_cpu = record_log(on_cpu)
    expected = on_cpu.training_step(batch(), 0 if first else 1)

    model = small_model(method)
    logged = {}
    model.log = lambda name, value, **_: logged.__setitem__(name.removesuffix("_step"), value)
    model.log_dict = lambda values, **_: logged.update(values)
    with EmulatedCuda() as gpu:
        to_cuda(model)
        data = on_cuda(batch())
        gpu.waits.clear()
        loss = model.training_step(data, 0 if first else 1)
        waits = list(gpu.waits)
        queue = 2 if method.endswith(QUEUES) else 0
        spaces = 3 if method.startswith("bayesncl") else 2
        assert len(waits) == queue + (1 + spaces if first else 0)
        assert {value.device.type for value in logged.values()} == {"cuda"}
        assert float(loss) == pytest.approx(float(expected), rel=1e-6)
        values = {name: float(value) for name, value in logged.items()}
    for name, value in logged_on_cpu.items():
        assert values[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> dict[str, dict]:
    """What Lightning makes of what each method logs, in DDP on a GPU."""
    folder = tmp_path_factory.mktemp("logged")
    mp.spawn(log_an_epoch, (str(folder), ("simclr", *METHODS)), nprocs=1)
    return torch.load(folder / "logged.pt", weights_only=True)


@pytest.mark.parametrize("method", METHODS)
def test_epoch_can_be_reduced_where_only_the_gpu_has_a_backend(logged, method):
    epoch = logged[method]["epoch"]
    assert {device for device, _ in epoch.values()} == {"cuda"}
    assert {"train_class_loss_epoch", "semantic_consistency_codes"} <= epoch.keys()
    steps = logged[method]["steps"]
    means = {
        name.replace("_step", "_epoch"): sum(step[name][1] for step in steps) / 3
        for name in steps[0]
    }
    assert {name: value for name, (_, value) in epoch.items() if name in means} == pytest.approx(
        means, rel=1e-5
    )
    assert {device for step in steps for device, _ in step.values()} == {"cuda"}
    assert 0 < means["train_class_loss_epoch"] < math.inf


@pytest.mark.parametrize("method", METHODS)
def test_step_reduces_nothing_over_processes(logged, method):
    assert logged["simclr"]["reductions"] == [4, 4, 4]
    assert logged[method]["reductions"] == [0, 0, 0]


@pytest.mark.parametrize("method", METHODS)
def test_bar_reads_nothing_from_the_gpu(logged, method):
    assert logged[method]["bar"] == []
