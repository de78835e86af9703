"""Both releases of solo-learn mean the same: main's meaning."""

import ast
import inspect
import math
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType, SimpleNamespace

import gather_worker
import numpy as np
import pytest
import torch
from conftest import RECIPES, tiny
from omegaconf import OmegaConf
from PIL import Image
from processes_worker import small_backbone
from test_methods import batch, build, config
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from solo_bayesncl import adapters, recipes
from solo_bayesncl.adapters import Adapter, adapter
from solo_bayesncl.data.loaders import pretrain_loader
from solo_bayesncl.data.transforms import evaluation_transform, probe_transform
from solo_bayesncl.errors import InputError
from solo_bayesncl.losses import info_nce
from solo_bayesncl.nn import normalize
from solo_bayesncl.recipes.compose import compose_recipe
from solo_bayesncl.training.pretraining import pretrain
from solo_bayesncl.training.seeding import SeededLoader

OLD_RELEASE = adapters.find()[1].endswith("v1_0_2")


def recipe(images: Path, out: Path, name: str, *overrides: str):
    """A checked pretraining configuration with solo-learn's defaults."""
    cfg = compose_recipe(str(RECIPES / "pretrain/cifar"), name, [])
    cfg.merge_with_dotlist(
        [o.lstrip("+") for o in tiny(images, out, *overrides) if not o.startswith("augmentations")]
    )
    cfg.augmentations[0].crop_size = 16
    recipes.check_pretrain(cfg)
    recipes.fit_to_machine(cfg)
    adapter().check(cfg)
    return adapter().pretrain_cfg(cfg)


def test_learning_rates_scale_with_batch_devices_and_nodes(images, tmp_path):
    cfg = recipe(
        images, tmp_path, "bayesncl", "accelerator=cpu", "devices=2", "num_nodes=3",
        "optimizer.lr=0.4", "optimizer.classifier_lr=0.1", "optimizer.gating_head_lr=0.05",
    )  # fmt: skip
    scale = 16 * 2 * 3 / 256
    assert cfg.optimizer.lr == pytest.approx(0.4 * scale)
    assert cfg.optimizer.classifier_lr == pytest.approx(0.1 * scale)
    assert cfg.optimizer.gating_head_lr == 0.05


def test_crops_and_classes_are_counted(images, tmp_path):
    cfg = recipe(images, tmp_path, "simclr")
    assert (cfg.data.num_large_crops, cfg.data.num_small_crops) == (2, 0)
    assert cfg.data.num_classes == 6


ADAPTERS = {
    "main": Path(adapters.__file__).with_name("main.py"),
    "1.0.2": Path(adapters.__file__).with_name("v1_0_2") / "__init__.py",
}
FUNCTIONS = {
    name: member
    for name, member in vars(Adapter).items()
    if isinstance(member, FunctionType) and not name.startswith("_")
}


@pytest.mark.parametrize("release", ADAPTERS)
def test_adapters_offer_what_the_protocol_names(release):
    (names,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(ADAPTERS[release].read_text()).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    )
    assert sorted(names) == sorted([*Adapter.__annotations__, *FUNCTIONS])


def test_functions_of_the_adapter_take_the_arguments_of_the_protocol():
    assert all(hasattr(adapter(), name) for name in Adapter.__annotations__)
    for name, function in FUNCTIONS.items():
        _, *parameters = inspect.signature(function).parameters.values()
        own = inspect.signature(getattr(adapter(), name)).parameters.values()
        assert [(p.name, p.default) for p in own] == [(p.name, p.default) for p in parameters]


def test_dropping_the_old_release_is_deleting_its_folder():
    package = Path(adapters.__file__).parents[1]
    for path in package.rglob("*.py"):
        if "v1_0_2" not in path.parts:
            modules = [
                node.module or ""
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.ImportFrom)
            ]
            assert not any("v1_0_2" in module for module in modules), path


def test_importing_and_registering_change_nothing_in_solo_learn_but_its_registry(tmp_path):
    worker = Path(gather_worker.__file__)
    subprocess.run([sys.executable, "-W", "ignore", worker, tmp_path], check=True)
    imported, registered, patched = (tmp_path / "changed").read_text().split("\n")
    assert imported == registered == ""
    assert "solo.methods.linear.accuracy_at_k" in patched.split()


def test_missing_dali_is_reported(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    monkeypatch.delitem(sys.modules, "solo_bayesncl.training.dali", raising=False)
    cfg = recipe(images, tmp_path, "ncl", "data.num_workers=1")
    cfg.data.format, cfg.dali.device = "dali", "cpu"
    with pytest.raises(InputError, match="data.format=dali needs NVIDIA DALI.*doctor"):
        pretrain(cfg)


class Steps:
    """Trains a method for some steps with solo-learn's Lightning and keeps what happened."""

    def __init__(self, cfg, steps: int = 6, epochs: int = 2, **trainer_options):
        pl = adapter().pl
        torch.manual_seed(0)
        self.model = adapter().build(cfg)
        self.rates: list[list[float]] = []
        self.losses: list[float] = []
        recorder = self

        class Recorder(pl.Callback):
            def on_train_batch_start(self, trainer, module, *_):
                groups = trainer.optimizers[0].param_groups
                recorder.rates.append([group["lr"] for group in groups])

            def on_train_batch_end(self, trainer, module, outputs, *_):
                recorder.losses.append(float(outputs["loss"]))

        generator = torch.Generator().manual_seed(0)
        images = torch.randn(8 * steps, 3, 32, 32, generator=generator)
        data = TensorDataset(torch.arange(len(images)), images, torch.arange(len(images)) % 6)

        def collate(samples):
            indexes, crops, labels = (torch.stack(column) for column in zip(*samples, strict=True))
            return [indexes, [crops, crops.flip(-1)], labels]

        self.trainer = pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Recorder()],
            **trainer_options,
        )
        self.trainer.fit(self.model, DataLoader(data, batch_size=8, collate_fn=collate))


def test_schedule_moves_per_step_from_mains_start_through_warmup_to_cosine():
    cfg = config("bayesncl")
    cfg.optimizer.gating_head_lr = 0.7
    cfg.scheduler.warmup_epochs = 1
    steps = Steps(cfg, steps=6, epochs=2)
    rates = {
        group["name"]: [row[i] for row in steps.rates]
        for i, group in enumerate(steps.trainer.optimizers[0].param_groups)
        if "name" in group
    }
    assert len(rates["gating_head"]) == 12
    for name, base in (("gating_head", 0.7), ("classifier", 0.1)):
        warmup = [3e-5 + i * (base - 3e-5) / 5 for i in range(6)]
        cosine = [base * 0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]
        assert rates[name] == pytest.approx([*warmup, *cosine], rel=1e-6)


def in_float16(scaler) -> list:
    """Lightning's plugin for `precision: 16-mixed`, on the CPU."""
    plugins = adapter().pl.plugins
    if hasattr(plugins, "MixedPrecision"):
        return [plugins.MixedPrecision("16-mixed", "cpu", scaler=scaler)]
    return [plugins.MixedPrecisionPlugin(16, "cpu", scaler=scaler)]


def test_float16_with_a_gradient_scaler_and_lars_trains_as_float32():
    """What recipes ask of a GPU: autocast to float16, scaled gradients, LARS."""
    cfg = config("bayesncl")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    with small_backbone():  # a larger one amplifies the rounding until a gate flips
        exact = Steps(cfg.copy(), epochs=1)
        half = Steps(cfg.copy(), epochs=1, plugins=in_float16(scaler))
    assert scaler.get_scale() == 2.0**10  # no step was left out
    assert half.losses != exact.losses
    assert half.losses == pytest.approx(exact.losses, rel=1e-3)


def test_step_whose_scaled_gradients_overflow_is_left_out():
    cfg = config("bayesncl")
    cfg.scheduler.name = "none"
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    with small_backbone():
        left_out = Steps(cfg.copy(), steps=1, epochs=1, plugins=in_float16(scaler))
        torch.manual_seed(0)
        untrained = dict(adapter().build(cfg.copy()).named_parameters())
    assert scaler.get_scale() == 2.0**59
    for name, parameter in left_out.model.named_parameters():
        assert torch.equal(parameter, untrained[name]), name


def lars_step(parameter, gradient, buffer, *, lr, eta, weight_decay, momentum, exclude):
    """One step of LARS as main defines it, for one parameter."""
    update = gradient
    if parameter.ndim != 1 or not exclude:
        ratio = eta * parameter.norm() / (
            gradient.norm() + weight_decay * parameter.norm() + 1e-8
        )  # fmt: skip
        update = min(ratio / lr, 1) * (gradient + weight_decay * parameter)
    buffer = update if buffer is None else momentum * buffer + update
    return parameter - lr * buffer, buffer


def test_lars_rescales_the_gradients_of_the_step_it_takes():
    cfg = config("ncl")
    cfg.scheduler.name = "none"
    cfg.optimizer.kwargs.exclude_bias_n_norm = True
    model = adapter().build(cfg)
    result = model.configure_optimizers()
    optimizer = result if not isinstance(result, tuple) else result[0][0]
    layer = model.projector[0]
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    buffers = {"weight": None, "bias": None}
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(4, 512)

        def closure(x=x):
            optimizer.zero_grad()
            loss = layer(x).pow(2).mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        options = {"lr": 0.4, "eta": 0.02, "weight_decay": 1e-4, "momentum": 0.9, "exclude": True}
        w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        nn.functional.linear(x, w, b).pow(2).mean().backward()
        weight, buffers["weight"] = lars_step(weight, w.grad, buffers["weight"], **options)
        bias, buffers["bias"] = lars_step(bias, b.grad, buffers["bias"], **options)
        torch.testing.assert_close(layer.weight.detach(), weight, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(layer.bias.detach(), bias, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not OLD_RELEASE, reason="the fault is 1.0.2's")
def test_lars_of_the_release_itself_does_not():
    """Without the cure: the closure overwrites the rescaled gradients and weight decay is off."""
    from solo.utils.lars import LARSWrapper

    layer = nn.Linear(3, 3)
    weight = layer.weight.detach().clone()
    optimizer = LARSWrapper(torch.optim.SGD(layer.parameters(), lr=0.1, weight_decay=0.5), eta=0.01)

    def closure():
        optimizer.zero_grad()
        with torch.enable_grad():
            layer(torch.ones(2, 3)).sum().backward()

    optimizer.step(closure)
    plain_sgd = weight - 0.1 * layer.weight.grad
    torch.testing.assert_close(layer.weight.detach(), plain_sgd)


def test_simclr_takes_all_crops_into_one_loss():
    model = build("simclr", small_crops=1)
    data = batch(small=1)
    data[0] = torch.arange(8)
    model.training_step(data, 1)
    again = build("simclr", small_crops=1)
    z = torch.cat([again.projector(again.backbone(x)) for x in data[1]])
    expected = info_nce(normalize(z), torch.arange(8).repeat(3), 0.2)
    assert model.logged["train_nce_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_other_methods_of_solo_learn_take_the_same_recipe(images, tmp_path):
    cfg = compose_recipe(str(RECIPES / "pretrain/custom"), "simclr", [])
    cfg.merge_with_dotlist(
        [
            "method=barlow_twins",
            f"data.train_path={images}/train",
            f"data.val_path={images}/val",
            "data.num_workers=0",
            "optimizer.batch_size=16",
            "max_epochs=1",
            "enable_progress_bar=False",
            "precision=32-true",
            f"checkpoint.dir={tmp_path}",
        ]
    )
    cfg.method_kwargs = {
        "proj_hidden_dim": 32,
        "proj_output_dim": 16,
        "lamb": 0.0051,
        "scale_loss": 0.048,
    }
    cfg.augmentations[0].crop_size = 16
    run = pretrain(cfg)
    state = torch.load(next(run.glob("*.ckpt")), weights_only=True)["state_dict"]
    assert "backbone.conv1.weight" in state


def test_gather_returns_the_whole_gradient(process_pool):
    """Compared with one process that holds all rows; 1.0.2's own `gather` keeps a share of it."""
    rows = torch.randn(6, 4, dtype=torch.float64)
    gradients = torch.cat(process_pool.run(gather_worker.gather_gradient, rows))
    together = rows.clone().requires_grad_()
    ((together @ together.T) ** 3).sum().backward()
    torch.testing.assert_close(gradients, together.grad)


def test_resuming_survives_list_valued_optimizer_options(tmp_path):
    cfg = config("ncl")
    cfg.optimizer.name = "adamw"
    cfg.optimizer.kwargs = {"betas": [0.9, 0.95]}
    steps = Steps(cfg, steps=2, epochs=1)
    steps.trainer.save_checkpoint(tmp_path / "one.ckpt")
    content = torch.load(tmp_path / "one.ckpt", weights_only=True)
    assert list(content["optimizer_states"][0]["param_groups"][0]["betas"]) == [0.9, 0.95]


def test_online_knn_runs_in_the_training_step():
    cfg = config("ncl")
    cfg.knn_eval = {"enabled": True, "k": 3}
    model = adapter().build(cfg)
    model.log = model.log_dict = lambda *_, **__: None
    model.training_step(batch(), 1)
    feats = torch.cat([f.flatten(1) for f in model.knn.train_features])
    assert feats.shape == (16, 512)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny", "swin_tiny"])
def test_backbone_alone_has_the_weights_of_the_method(name):
    cfg = config("ncl")
    cfg.backbone = {"name": name, "kwargs": {"patch_size": 16} if name == "vit_tiny" else {}}
    model = adapter().build(cfg)
    kwargs = OmegaConf.to_container(cfg.backbone.kwargs)
    alone = adapter().backbone(name, "ncl", kwargs, cifar_stem=False)
    alone.load_state_dict(model.backbone.state_dict())
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(alone.eval()(images), model.backbone.eval()(images))


def test_cifar_stem_is_the_3x3_one():
    cfg = config("ncl")
    cfg.data.dataset = "cifar10"
    model = adapter().build(cfg)
    alone = adapter().backbone("resnet18", "ncl", {}, cifar_stem=True)
    alone.load_state_dict(model.backbone.state_dict())
    assert alone.conv1.kernel_size == (3, 3)


@pytest.mark.parametrize(("dataset", "size"), [("cifar10", 32), ("stl10", 96), ("custom", 224)])
def test_labelled_images_have_the_size_of_their_data_set(dataset, size):
    image = Image.new("RGB", (size, size))
    crop = OmegaConf.create({"crop_size": 224})
    for transform in (probe_transform, evaluation_transform):
        assert transform(dataset, crop)(image).shape == (3, size, size)


def test_normalisation_is_that_of_main(images, tmp_path):
    """timm's ImageNet statistics (.229, not .228) and CIFAR-100's own."""
    for dataset, mean, std in (
        ("custom", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("cifar100", (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ):
        cfg = recipe(images, tmp_path, "simclr")
        cfg.data.dataset = dataset
        text = str(adapter().pretrain_transform(cfg))
        assert f"Normalize(mean={mean}, std={std})" in text


@pytest.mark.skipif(not OLD_RELEASE, reason="main has all of these")
@pytest.mark.parametrize(
    "asked",
    [
        "optimizer.exclude_bias_n_norm_wd=True",
        "scheduler.interval=epoch",
        "mixup=0.2",
        "finetune=True",
    ],
)
def test_what_the_old_release_lacks_is_refused_with_the_release_that_has_it(asked):
    cfg = OmegaConf.from_dotlist([asked])
    key, value = asked.split("=")
    with pytest.raises(InputError, match=f"{key}={value}.*solo-learn main"):
        adapter().check(cfg)


@pytest.mark.skipif(not OLD_RELEASE, reason="main has these")
@pytest.mark.parametrize(
    "override",
    ["method=mocov3", "backbone.name=convnext_tiny", "data.format=h5"],
)
def test_names_that_only_main_has_are_refused_with_that_hint(images, tmp_path, override):
    cfg = compose_recipe(str(RECIPES / "pretrain/custom"), "simclr", [])
    cfg.merge_with_dotlist([f"data.train_path={images}/train", override])
    if override.endswith("h5"):
        cfg.data.train_path = str(next(images.glob("train/*/*.png")))
    with pytest.raises(InputError, match="solo-learn main .GitHub. has more"):
        pretrain(cfg)


@pytest.mark.skipif(OLD_RELEASE, reason="1.0.2 has no HDF5 data")
def test_hdf5_files_train(images, tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setenv("HOME", str(tmp_path))  # where solo-learn keeps a list of the file
    path = tmp_path / "images.h5"
    with h5py.File(path, "w") as file:
        for image in images.glob("train/*/*.png"):
            pixels = np.frombuffer(image.read_bytes(), dtype="uint8")
            file.create_dataset(f"{image.parent.name}/{image.name}", data=pixels)
    cfg = compose_recipe(str(RECIPES / "pretrain/custom"), "bayesncl", [])
    cfg.merge_with_dotlist(
        [
            "data.dataset=imagenet",
            "data.format=h5",
            f"data.train_path={path}",
            f"data.val_path={path}",
            "data.num_workers=0",
            "optimizer.batch_size=16",
            "method_kwargs.proj_hidden_dim=32",
            "max_epochs=1",
            "enable_progress_bar=False",
            "precision=32-true",
            f"checkpoint.dir={tmp_path}/out",
        ]
    )
    cfg.augmentations[0].crop_size = 16
    assert list(pretrain(cfg).glob("*.ckpt"))


@pytest.mark.skipif(not OLD_RELEASE, reason="main has these")
def test_augmentations_that_the_old_release_lacks_are_refused(images, tmp_path):
    cfg = compose_recipe(str(RECIPES / "pretrain/cifar"), "simclr", [])
    cfg.augmentations[0].rrc.enabled = False
    cfg.augmentations[0].equalization.prob = 0.1
    with pytest.raises(InputError, match=r"rrc.enabled.*equalization.prob=0.1.*solo-learn main"):
        adapter().check(cfg)


def portable_samples(images: Path, tmp_path: Path, labelled: bool, options: Sequence[str] = ()):
    """The training images of a recipe for class folders, or for one folder without labels."""
    if labelled:
        return pretrain_loader(recipe(images, tmp_path, "ncl")).dataset
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (images / "train").glob("*/*.png"):
        (flat / f"{path.parent.name}_{path.name}").write_bytes(path.read_bytes())
    cfg = recipe(images, tmp_path, "ncl", *options)
    cfg.data.train_path, cfg.data.no_labels, cfg.data.val_path = str(flat), True, None
    return pretrain_loader(cfg).dataset


@pytest.mark.parametrize("labelled", [True, False])
def test_samples_can_be_sent_to_processes_that_are_not_forked(images, tmp_path, labelled):
    """With their transforms; pickled as they are where such a process is started."""
    samples = portable_samples(images, tmp_path, labelled)
    sent = pickle.loads(pickle.dumps(samples))
    torch.manual_seed(0)
    index, crops, target = samples[13]
    torch.manual_seed(0)
    sent_index, sent_crops, sent_target = sent[13]
    assert (index, target) == (sent_index, sent_target) == (13, 1 if labelled else -1)
    assert len(crops) == 2
    assert len(sent) == len(samples) == 48
    assert [crop.shape for crop in sent_crops] == [crop.shape for crop in crops]


def test_training_images_are_loaded_by_a_spawned_process(images, tmp_path):
    """As on macOS and Windows: through the loader that training takes."""
    cfg = recipe(images, tmp_path, "ncl", "data.num_workers=1")
    loader = pretrain_loader(cfg)
    loader.multiprocessing_context = "spawn"
    trainer = SimpleNamespace(world_size=1, global_rank=0, current_epoch=0)
    spawned = list(SeededLoader.like(loader, cfg.seed, trainer))
    loader.multiprocessing_context = None
    loader.num_workers, loader.prefetch_factor = 0, None
    own = list(SeededLoader.like(loader, cfg.seed, trainer))
    assert len(own) == 3
    for (indexes, crops, targets), (own_indexes, own_crops, own_targets) in zip(
        spawned, own, strict=True
    ):
        assert torch.equal(indexes, own_indexes)
        assert torch.equal(targets, own_targets)
        assert torch.equal(targets, indexes // 8)
        torch.testing.assert_close(crops, own_crops)


def test_building_a_method_warns_of_nothing(images, tmp_path, caplog):
    """Main says of its default schedule, per step, that it "might" not resume; our runs do."""
    adapter().build(recipe(images, tmp_path, "simclr"))
    assert not caplog.records
