"""What a GPU would find, on emulated CUDA tensors: devices, waits, logging under NCCL's rules."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import RECIPES, only_run, record_log, tiny
from emulated_cuda import CUDA, EmulatedCuda, on_cuda
from emulated_cuda_worker import log_an_epoch
from processes_worker import small_model
from test_methods import batch

import solo_bayesncl
from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters.shared import labels_of
from solo_bayesncl.evaluation import encoding as evaluation
from solo_bayesncl.evaluation import explanation as explain
from solo_bayesncl.evaluation.devices import on_device
from solo_bayesncl.evaluation.forward import collect, outputs_by_batch
from solo_bayesncl.evaluation.measurement import measure
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.evaluation.training_split import training_split, with_indexes
from solo_bayesncl.methods import METHODS
from solo_bayesncl.runs.models import load_model

solo_bayesncl.register()

pytestmark = pytest.mark.skipif(
    not hasattr(torch._C, "_ensureCUDADeviceGuardSet"),
    reason=f"torch {torch.__version__} cannot emulate CUDA; newer ones can",
)

# solo-learn reads and writes the place in its queue on the CPU
QUEUES = ("mocov2plus", "nnclr")


def test_the_emulated_gpu_refuses_what_a_gpu_refuses_and_notes_waits():
    with EmulatedCuda() as gpu:
        x = torch.arange(4.0).to("cuda")
        assert gpu.waits == ["aten._to_copy.default"]
        gpu.waits.clear()
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
    """All steps but the first of an epoch, which has the statistics."""
    on_cpu = small_model(method)
    logged_on_cpu = record_log(on_cpu)
    expected = on_cpu.training_step(batch(), 0 if first else 1)

    model = small_model(method)
    logged = record_log(model, read=lambda value: value)
    with EmulatedCuda() as gpu:
        model.to(CUDA)
        data = on_cuda(batch())
        gpu.waits.clear()
        loss = model.training_step(data, 0 if first else 1)
        waits = list(gpu.waits)
        queue = 2 if method.endswith(QUEUES) else 0
        spaces = 3 if method.startswith("bayesncl") else 2
        # of the statistics, labels and spaces are copied to the CPU, and the values back
        assert len(waits) == queue + (1 + spaces + 1 if first else 0)
        assert {value.device.type for value in logged.values()} == {"cuda"}
        assert loss.cpu().item() == pytest.approx(expected.item(), rel=1e-6)
        values = {name: float(value) for name, value in logged.items()}
    for name, value in logged_on_cpu.items():
        assert values[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name


@pytest.fixture(scope="module")
def logged(process_pool) -> dict[str, dict]:
    """What Lightning makes of what each method logs, in DDP on a GPU.

    The process group has a backend for CUDA tensors alone, as NCCL's has.
    """
    methods = ("simclr", *METHODS)
    (found,) = process_pool.run(log_an_epoch, methods, world_size=1, backend="cuda:gloo")
    return found


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


@pytest.fixture(scope="module")
def subject(narrow_backbone, images, tmp_path_factory):
    """A model with what it says of its data, on the CPU."""
    out = tmp_path_factory.mktemp("run")
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "bayesncl"]
    assert main(["pretrain", *recipe, *tiny(images, out)]) == 0
    return evaluation.encode_splits(only_run(out, "bayesncl"), Options(device="cpu"))


def test_images_pass_through_the_model_on_the_gpu_with_a_wait_for_each_batch(subject):
    _, loader = evaluation.evaluation_loaders(subject.run.cfg, subject.options)
    with EmulatedCuda() as gpu:
        model = load_model(subject.run).to(CUDA)
        gpu.waits.clear()
        val = collect(model, loader, CUDA, "32-true", "images")
        assert len(gpu.waits) == len(loader) == 2
    for name, expected in vars(subject.val).items():
        torch.testing.assert_close(getattr(val, name), expected)


def test_training_split_is_reduced_on_the_gpu_without_a_wait_for_each_batch(subject):
    loader, _ = evaluation.evaluation_loaders(subject.run.cfg, subject.options)
    labels = labels_of(loader.dataset)
    with EmulatedCuda() as gpu:
        model = load_model(subject.run).to(CUDA)
        batches = list(outputs_by_batch(model, loader, CUDA, "32-true", "images"))
        waits = []
        for repeated in (1, 3):
            gpu.waits.clear()
            more = with_indexes(repeated * batches, ())
            found = training_split(more, labels.repeat(repeated), subject.val, CUDA)
            waits.append(len(gpu.waits))
            if repeated == 1:
                assert torch.equal(found.order, subject.train.order)
                torch.testing.assert_close(found.codes, subject.train.codes)
                assert found.knn_accuracy == subject.train.knn_accuracy
        assert waits[0] == waits[1] > 0


def test_metrics_on_the_gpu_are_those_on_the_cpu(subject):
    expected = measure(subject), explain.explain(subject).table
    with EmulatedCuda() as gpu:
        on_gpu = replace(subject, options=Options(device="cuda"))
        found = measure(on_gpu), explain.explain(on_gpu).table
    assert gpu.waits
    found, expected = flat(found), flat(expected)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, int | float):
            value = pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True)
        assert found[name] == value, name


def flat(values, name: str = "") -> dict[str, object]:
    """Nested dicts, lists and tuples as one dict."""
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, list | tuple):
        items = enumerate(values)
    else:
        return {name: values}
    return {k: v for key, value in items for k, v in flat(value, f"{name}.{key}").items()}


def test_what_does_not_fit_the_gpu_is_computed_on_the_cpu():
    with EmulatedCuda():

        def total(x):
            if x.device.type == "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory")
            return float(x.sum())

        assert on_device(CUDA, total, torch.ones(3)) == 3.0
