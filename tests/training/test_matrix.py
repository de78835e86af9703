"""Every family of backbones and every way to the data, through the real command."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RECIPES, make_images, only_run, tiny
from omegaconf import OmegaConf
from torchvision import transforms as T

import solo_bayesncl
from solo_bayesncl import adapters, runs
from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters import adapter
from solo_bayesncl.data.loaders import labelled_loaders
from solo_bayesncl.data.transforms import statistics
from solo_bayesncl.errors import InputError
from solo_bayesncl.runs.models import load_model
from solo_bayesncl.training.environment import prepare_solo_learn

pytestmark = pytest.mark.usefixtures("narrow_backbone")
solo_bayesncl.register()

OLD_RELEASE = adapters.find()[1].endswith("v1_0_2")
DALI = ("data.format=dali", "dali.device=cpu", "data.num_workers=1")
SMALL = ("augmentations.1.crop_size=8", "augmentations.1.num_crops=2")
MULTICROP = ("augmentations=multicrop", *SMALL)
ASYMMETRIC = ("augmentations=asymmetric", "augmentations.1.crop_size=16")
NO_CHECKPOINT = ("checkpoint.enabled=False", "auto_resume.enabled=False")

both_readers = pytest.mark.parametrize("reader", ["image_folder", "dali"])


def pretrain(images: Path, out: Path, *overrides: str, folder="custom", name="bayesncl") -> Path:
    """Trains with a recipe on small images; returns the run's folder."""
    path = ["--config-path", str(RECIPES / "pretrain" / folder), "--config-name", name]
    assert main(["pretrain", *path, *tiny(images, out, "optimizer.batch_size=24", *overrides)]) == 0
    (kind,) = out.iterdir()
    return only_run(out, kind.name)


def refusal(capsys, images: Path, out: Path, *overrides: str, name="bayesncl") -> str:
    """The message with which `pretrain` refuses."""
    path = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", name]
    assert main(["pretrain", *path, *tiny(images, out, *overrides)]) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert not list(out.rglob("*.ckpt"))
    return message


def curves(run: Path) -> dict[str, list[float]]:
    """Column -> its values."""
    with (run / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in table if row[name]] for name in table[0]}


def checkpoint(run: Path) -> dict:
    (path,) = run.glob("*.ckpt")
    return torch.load(path, weights_only=True)


def reader_of(reader: str) -> tuple[str, ...]:
    """Overrides for a way of reading images; skips the test where it is not installed."""
    if reader == "dali":
        pytest.importorskip("nvidia.dali")
        return DALI
    return ()


@pytest.fixture
def batches(monkeypatch) -> list:
    """The batches that training steps of BayesNCL are given: [indexes, crops, targets]."""
    method, seen = adapter().METHODS["bayesncl"], []
    step = method.training_step

    def recorded(self, batch, batch_idx):
        indexes, crops, targets = batch
        seen.append([indexes.clone(), [crop.clone() for crop in crops], targets.clone()])
        return step(self, batch, batch_idx)

    monkeypatch.setattr(method, "training_step", recorded)
    return seen


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    """3 classes of 8 images for training and of 2 for validation: JPEG files of 40 px."""
    folder = tmp_path_factory.mktemp("few")
    make_images(folder / "train", classes=3, per_class=8, size=40, suffix=".jpg")
    make_images(folder / "val", classes=3, per_class=2, size=40, suffix=".jpg")
    return folder


@pytest.fixture(scope="module")
def unlabelled(few, tmp_path_factory) -> Path:
    """The 24 training images in one folder."""
    folder = tmp_path_factory.mktemp("unlabelled")
    for number, path in enumerate(sorted(few.glob("train/*/*"))):
        shutil.copy(path, folder / f"{number}.jpg")
    return folder


# the smallest backbone of each family: size of its images, and its settings for them
FAMILIES = {
    "resnet18": (16, []),
    "small_resnet": (16, []),
    "wide_resnet28w2": (16, []),
    "vit_tiny": (16, ["++backbone.kwargs={img_size: 16, patch_size: 8}"]),
    "swin_tiny": (32, ["++backbone.kwargs={img_size: 32, window_size: 2}"]),
    "convnext_tiny": (32, []),
    "poolformer_s12": (32, []),
}


def test_no_family_of_backbones_is_left_out():
    known = {name.rpartition("_")[0] or "resnet" for name in FAMILIES}
    known |= {"wide", "wide_resnet28w2"}
    assert {name.rpartition("_")[0] or "resnet" for name in adapter().backbone_names()} <= known


@pytest.mark.usefixtures("whole_backbone")
@pytest.mark.parametrize("name", FAMILIES)
def test_backbone_trains_and_its_checkpoint_loads(few, tmp_path, capsys, name):
    size, kwargs = FAMILIES[name]
    overrides = [f"backbone.name={name}", f"augmentations.0.crop_size={size}", *kwargs]
    overrides += ["optimizer.batch_size=4", "++limit_train_batches=1"]
    if name not in adapter().backbone_names():
        message = refusal(capsys, few, tmp_path, *overrides)
        assert f"backbone.name='{name}' is not known" in message
        assert "solo-learn main (GitHub) has more" in message
        return
    run = runs.Run.open(pretrain(few, tmp_path, *overrides))
    (loss,) = curves(run.folder)["train_nce_loss_epoch"]
    assert math.isfinite(loss)

    adapter().pl.seed_everything(run.cfg.seed, workers=True)
    start = adapter().build(run.cfg).state_dict()
    model = load_model(run)
    for part in (model.backbone, model.gating_head):
        parameters = list(part.parameters())
        for trained in (parameters[0], parameters[-1]):
            (key,) = (k for k, v in model.named_parameters() if v is trained)
            assert 0 < (trained - start[key]).abs().max() < 0.1, key
    with torch.no_grad():
        out = model(torch.randn(2, 3, size, size))
    assert model.encode(out).codes.isfinite().all()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["backbone.name=swin_tiny"], "Set ++backbone.kwargs.img_size=16"),
        (
            ["backbone.name=vit_tiny", "++backbone.kwargs={img_size: 16, patch_size: 32}"],
            "does not take the 16 px of augmentations.0.crop_size",
        ),
        (
            [
                "backbone.name=vit_tiny",
                "++backbone.kwargs={img_size: 16, patch_size: 8}",
                *MULTICROP,
            ],
            "++backbone.kwargs.dynamic_img_size=True for several sizes",
        ),
        pytest.param(
            ["backbone.name=convnext_tiny"],
            "Change augmentations.0.crop_size or backbone.kwargs",
            marks=pytest.mark.skipif(OLD_RELEASE, reason="main has it"),
        ),
    ],
)
def test_images_that_do_not_fit_the_backbone_are_one_message(
    few, tmp_path, capsys, overrides, expected
):
    assert expected in refusal(capsys, few, tmp_path, *overrides)


def test_validation_images_of_another_size_than_the_crops_must_fit_too(cifar10, tmp_path, capsys):
    message = refusal(
        capsys, cifar10, tmp_path, "data.dataset=cifar10", f"data.train_path={cifar10}",
        f"data.val_path={cifar10}", "backbone.name=vit_tiny",
        "++backbone.kwargs={img_size: 16, patch_size: 8}",
    )  # fmt: skip
    assert "does not take the 32 px of data.dataset" in message


@pytest.fixture(scope="module")
def vit_run(few, tmp_path_factory) -> Path:
    """One step of the ViT recipe, on small images and with a small backbone."""
    out = tmp_path_factory.mktemp("vit")
    return pretrain(few, out, *VIT, folder="imagenet-100", name="bayesncl_vit")


VIT = (
    "backbone.name=vit_tiny",
    "++backbone.kwargs={img_size: 16, patch_size: 8}",
    "optimizer.batch_size=12",
)


def test_vit_recipe_trains_all_parts_with_adamw_at_one_rate(vit_run):
    record = json.loads((vit_run / "args.json").read_text())
    assert record["optimizer"]["lr"] == pytest.approx(3e-4 * 12 / 256)
    rates = {g["name"]: g for g in checkpoint(vit_run)["optimizer_states"][0]["param_groups"]}
    assert rates["gating_head"]["initial_lr"] == rates["backbone"]["initial_lr"]
    assert rates["gating_head"]["weight_decay"] == 0.1
    assert rates["gating_head"]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize("name", ["simclr_vit", "ncl_vit"])
def test_other_vit_recipes_train(few, tmp_path, name):
    run = pretrain(few, tmp_path, *VIT, *NO_CHECKPOINT, folder="imagenet-100", name=name)
    assert math.isfinite(curves(run)["train_nce_loss_epoch"][0])


def test_probe_evaluation_and_encoder_take_the_small_resnet(few, tmp_path, monkeypatch):
    small = "backbone.name=small_resnet"
    run = pretrain(few, tmp_path / "pretrained", small)
    monkeypatch.delitem(adapter().BACKBONES, "small_resnet")  # as in a process of its own
    assert linear(run, few, tmp_path / "probe", small, "++backbone.kwargs=null", name="ncl") == 0
    before = checkpoint(run)["state_dict"]
    after = checkpoint(only_run(tmp_path / "probe", "linear"))["state_dict"]
    assert after["classifier.weight"].shape == (3, 128)
    assert torch.equal(before["backbone.conv1.0.weight"], after["backbone.conv1.0.weight"])
    assert main(["evaluate", str(run), "--out", str(tmp_path / "evaluation.json")]) == 0
    encoder = solo_bayesncl.load_encoder(run)
    assert encoder(torch.randn(2, 3, 16, 16)).shape == (2, 16)


def linear(run: Path, images: Path, out: Path, *overrides: str, name="bayesncl_vit") -> int:
    return main(
        [
            "linear", "--config-path", str(RECIPES / "linear/imagenet-100"), "--config-name", name,
            f"pretrained_feature_extractor={run}", "data.dataset=custom",
            f"data.train_path={images}/train", f"data.val_path={images}/val",
            "data.format=image_folder", "data.num_workers=0", "data.augmentations.crop_size=16",
            "max_epochs=1", "precision=32-true", "++enable_progress_bar=False",
            f"checkpoint.dir={out}", *VIT, *overrides,
        ]
    )  # fmt: skip


def test_linear_probe_and_evaluation_take_a_vit(vit_run, few, tmp_path):
    assert linear(vit_run, few, tmp_path) == 0
    probe = only_run(tmp_path, "linear")
    assert curves(probe)["val_acc1"]
    before, after = checkpoint(vit_run)["state_dict"], checkpoint(probe)["state_dict"]
    assert torch.equal(before["backbone.pos_embed"], after["backbone.pos_embed"])
    assert main(["evaluate", str(vit_run), "--out", str(tmp_path / "evaluation.json")]) == 0
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert 0 <= result["accuracy"]["knn_backbone"] <= 100


def test_linear_probe_of_another_size_than_the_backbone_is_one_message(
    vit_run, few, tmp_path, capsys
):
    assert linear(vit_run, few, tmp_path, "data.augmentations.crop_size=24") == 2
    message = capsys.readouterr().err
    assert "does not take the 24 px of data.augmentations.crop_size" in message


@both_readers
def test_multicrop_trains_on_all_crops_of_both_sizes(few, tmp_path, batches, reader):
    run = pretrain(few, tmp_path, *MULTICROP, *reader_of(reader))
    assert [list(crop.shape) for crop in batches[0][1]] == [
        [24, 3, 16, 16], [24, 3, 16, 16], [24, 3, 8, 8], [24, 3, 8, 8],
    ]  # fmt: skip
    assert math.isfinite(curves(run)["train_nce_loss_epoch"][0])
    record = json.loads((run / "args.json").read_text())
    assert (record["data"]["num_large_crops"], record["data"]["num_small_crops"]) == (2, 2)


def test_multicrop_takes_a_vit_of_dynamic_size(few, tmp_path):
    run = pretrain(
        few, tmp_path, *MULTICROP, *NO_CHECKPOINT, "backbone.name=vit_tiny",
        "++backbone.kwargs={img_size: 16, patch_size: 8, dynamic_img_size: True}",
    )  # fmt: skip
    assert math.isfinite(curves(run)["train_nce_loss_epoch"][0])


@pytest.mark.parametrize(
    "overrides",
    [["augmentations.0.num_crops=3"], [*ASYMMETRIC[:1], "augmentations.1.crop_size=8"]],
    ids=["3 large", "1 large and 1 small"],
)
def test_any_number_of_views_trains(few, tmp_path, batches, overrides):
    run = pretrain(few, tmp_path, *overrides, *NO_CHECKPOINT)
    assert len(batches[0][1]) == (3 if len(overrides) == 1 else 2)
    assert math.isfinite(curves(run)["train_nce_loss_epoch"][0])


@both_readers
def test_asymmetric_augmentations_make_one_view_each(few, tmp_path, batches, reader):
    """The first always coloured, the second always grey."""
    pretrain(
        few, tmp_path, *ASYMMETRIC, *reader_of(reader), *NO_CHECKPOINT,
        "augmentations.0.grayscale.prob=0", "augmentations.1.grayscale.prob=1",
        "augmentations.1.color_jitter.prob=0", "augmentations.1.solarization.prob=0",
    )  # fmt: skip
    mean, std = (torch.tensor(v)[:, None, None] for v in statistics("custom", {}))
    for _, views, _ in batches:
        coloured, grey = (view * std + mean for view in views)
        assert (coloured.amax(1) - coloured.amin(1)).mean() > 0.05
        torch.testing.assert_close(grey.amax(1), grey.amin(1), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("reader", "crops"), [("image_folder", ()), ("dali", MULTICROP)], ids=["image_folder", "dali"]
)
def test_images_without_labels_leave_nothing_about_classes(
    unlabelled, tmp_path, batches, reader, crops
):
    overrides = (f"data.train_path={unlabelled}", "data.no_labels=True", "data.val_path=null")
    run = pretrain(unlabelled, tmp_path, *overrides, *crops, *reader_of(reader))
    assert {int(target) for _, _, targets in batches for target in targets} == {-1}
    assert sorted(int(i) for indexes, _, _ in batches for i in indexes) == list(range(24))
    columns = curves(run)
    about_classes = ("acc", "class", "consistency", "entropy", "val_")
    # the rate of the online classifier's parameter group is of the optimizer
    logged = [name for name in columns if not name.startswith("lr-")]
    assert not [name for name in logged if any(word in name for word in about_classes)]
    assert all(math.isfinite(v) for values in columns.values() for v in values)
    state = checkpoint(run)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())


def test_run_without_labels_is_evaluated_on_labelled_images(unlabelled, few, tmp_path, capsys):
    overrides = (f"data.train_path={unlabelled}", "data.no_labels=True", "data.val_path=null")
    run = pretrain(unlabelled, tmp_path, *overrides)
    assert main(["evaluate", str(run)]) == 2
    assert "Give some with --data DIR" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--data", str(few)]) == 0
    result = json.loads((run / "evaluation.json").read_text())
    assert result["samples"] == 6
    assert result["accuracy"]["online_classifier"] is None
    assert 0 <= result["accuracy"]["knn_codes"] <= 100


@pytest.fixture
def gradients(monkeypatch) -> tuple[list, list]:
    """(of each batch alone, of each optimizer step) for the last weight of BayesNCL's projector."""
    method = adapter().METHODS["bayesncl"]
    of_batches, of_steps = [], []
    training_step = method.training_step

    def step(self, batch, batch_idx):
        loss = training_step(self, batch, batch_idx)
        weight = self.projector[-1].weight
        of_batches.append(torch.autograd.grad(loss, weight, retain_graph=True)[0])
        return loss

    def before_optimizer_step(self, *_):
        of_steps.append(self.projector[-1].weight.grad.clone())

    monkeypatch.setattr(method, "training_step", step)
    monkeypatch.setattr(method, "on_before_optimizer_step", before_optimizer_step)
    return of_batches, of_steps


def test_accumulated_gradients_make_half_the_steps_at_twice_the_rate(few, tmp_path, gradients):
    """3 batches an epoch: the second step is of the one that is left over."""
    run = pretrain(
        few, tmp_path, "optimizer.batch_size=8", "++accumulate_grad_batches=2", "max_epochs=2",
        "++scheduler.warmup_epochs=1", "data.val_path=null",
    )  # fmt: skip
    of_batches, of_steps = gradients
    assert (len(of_batches), len(of_steps)) == (2 * 3, 2 * 2)
    for epoch in range(2):
        first, second, third = of_batches[3 * epoch : 3 * epoch + 3]
        assert not torch.allclose(first, second)
        expected = [(first + second) / 2, third / 2]
        torch.testing.assert_close(of_steps[2 * epoch : 2 * epoch + 2], expected)
    assert "val_acc1" not in curves(run)
    content, record = checkpoint(run), json.loads((run / "args.json").read_text())
    assert content["global_step"] == 2 * 2
    groups = {group["name"]: group for group in content["optimizer_states"][0]["param_groups"]}
    optimizer = record["optimizer"]
    assert optimizer["lr"] == pytest.approx(0.4 * 8 / 256)
    assert groups["backbone"]["initial_lr"] == pytest.approx(2 * optimizer["lr"])
    assert groups["classifier"]["initial_lr"] == pytest.approx(2 * optimizer["classifier_lr"])
    assert groups["gating_head"]["initial_lr"] == optimizer["gating_head_lr"]
    # the schedule counts optimizer steps: it has come to its end
    assert groups["backbone"]["lr"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("reader", "labelled"), [("image_folder", True), ("dali", True), ("dali", False)]
)
def test_fraction_of_the_images_is_the_same_in_every_epoch(
    few, unlabelled, tmp_path, batches, reader, labelled
):
    overrides = ["++data.fraction=0.5", "optimizer.batch_size=12", "max_epochs=2", *NO_CHECKPOINT]
    if not labelled:
        overrides += [f"data.train_path={unlabelled}", "data.no_labels=True", "data.val_path=null"]
    pretrain(few, tmp_path, *overrides, *reader_of(reader))
    first, second = batches
    assert sorted(first[0].tolist()) == sorted(second[0].tolist()) == list(range(12))
    if labelled:
        assert first[2].bincount().tolist() == [4] * 3


@pytest.mark.parametrize(
    ("reader", "fraction", "expected"),
    [
        ("image_folder", 0.25, "fewer images than optimizer.batch_size=16"),
        ("dali", 0.25, "optimizer.batch_size=16"),
        ("dali", 0.01, "data.fraction=0.01 of data.train_path"),
        ("image_folder", 1, "data.fraction=1: give the share of the training images"),
        ("image_folder", "half", "data.fraction='half': give the share of the training images"),
    ],
)
def test_impossible_fractions_are_one_message(few, tmp_path, capsys, reader, fraction, expected):
    overrides = (f"++data.fraction={fraction}", *reader_of(reader))
    assert expected in refusal(capsys, few, tmp_path, *overrides)


def test_fraction_of_data_that_are_no_folders_is_one_message(cifar10, tmp_path, capsys):
    paths = (f"data.train_path={cifar10}", f"data.val_path={cifar10}", "data.dataset=cifar10")
    message = refusal(capsys, cifar10, tmp_path, *paths, "++data.fraction=0.5")
    assert "data.fraction=0.5 is for image folders, not for data.dataset=cifar10" in message


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["augmentations.0.num_crops=3"], "but augmentations give 3 of 16 px and 0 of other sizes"),
        (MULTICROP, "but augmentations give 2 of 16 px and 2 of other sizes"),
    ],
)
def test_methods_of_solo_learn_that_compare_two_views_say_so(
    few, tmp_path, capsys, overrides, expected
):
    assert expected in refusal(capsys, few, tmp_path, *overrides, name="barlow_twins")


def test_one_image_a_step_is_refused(few, tmp_path, capsys):
    assert "optimizer.batch_size=1" in refusal(capsys, few, tmp_path, "optimizer.batch_size=1")


def test_large_crops_come_first(few, tmp_path, capsys):
    """solo-learn counts the crops of the first one's size, and takes as many from the front."""
    from omegaconf import OmegaConf

    recipes = tmp_path / "recipes"
    shutil.copytree(RECIPES / "pretrain/custom", recipes)
    large, small = OmegaConf.load(RECIPES / "pretrain/augmentations/multicrop.yaml")
    (recipes / "augmentations").mkdir()
    OmegaConf.save(OmegaConf.create([large, small, large]), recipes / "augmentations/mixed.yaml")
    overrides = tiny(few, tmp_path / "out", "augmentations=mixed", "augmentations.2.crop_size=16")
    arguments = ["--config-path", str(recipes), "--config-name", "bayesncl", *overrides]
    assert main(["pretrain", *arguments]) == 2
    message = capsys.readouterr().err
    assert "augmentations.INDEX.crop_size=[16, 96, 16]" in message
    assert "large ones first" in message


def h5_file(path: Path, images: Path, classes: str = "*") -> None:
    """The training images as solo-learn main reads them: the files' bytes, in a group per class."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for image in sorted(images.glob(f"train/{classes}/*")):
            pixels = np.frombuffer(image.read_bytes(), dtype="uint8")
            file.create_dataset(f"{image.parent.name}/{image.name}", data=pixels)


@pytest.mark.skipif(OLD_RELEASE, reason="1.0.2 has no HDF5 data, and says so")
def test_hdf5_files_of_one_name_are_each_read_with_their_own_list(
    few, images, tmp_path, batches, monkeypatch
):
    """solo-learn keeps the first one's list in the home folder, under the name alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, source, size in (("few", few, 24), ("all", images, 48)):
        path = tmp_path / name / "train.h5"
        h5_file(path, source)
        batches.clear()
        run = pretrain(
            few, tmp_path / f"of_{name}", "data.dataset=imagenet", "data.format=h5",
            f"data.train_path={path}", f"data.val_path={path}",
        )  # fmt: skip
        indexes = torch.cat([indexes for indexes, _, _ in batches])
        assert sorted(indexes.tolist()) == list(range(size))
    assert main(["evaluate", str(run)]) == 0
    assert json.loads((run / "evaluation.json").read_text())["samples"] == 48


@pytest.mark.skipif(OLD_RELEASE, reason="1.0.2 has no HDF5 data, and says so")
def test_hdf5_data_of_another_name_than_imagenet_are_one_message(few, tmp_path, capsys):
    path = tmp_path / "h5" / "train.h5"
    h5_file(path, few)
    overrides = ("data.format=h5", f"data.train_path={path}", f"data.val_path={path}")
    message = refusal(capsys, few, tmp_path / "out", *overrides)
    assert "data.format=h5 is for data.dataset=imagenet or imagenet100, not custom" in message


@pytest.mark.skipif(OLD_RELEASE, reason="1.0.2 has no HDF5 data, and says so")
def test_labels_of_hdf5_files_are_matched_by_the_names_of_classes(few, tmp_path):
    h5_file(tmp_path / "h5/train.h5", few)
    h5_file(tmp_path / "h5/val.h5", few, "class_[12]")
    cfg = OmegaConf.create({
        "data": {"dataset": "imagenet", "format": "h5", "train_path": f"{tmp_path}/h5/train.h5",
                 "val_path": f"{tmp_path}/h5/val.h5", "num_workers": 0},
        "optimizer": {"batch_size": 64},
    })  # fmt: skip
    prepare_solo_learn()
    _, (batch,) = labelled_loaders(cfg, T.ToTensor(), T.ToTensor())
    assert batch[1].unique().tolist() == [1, 2]
    cfg.data.train_path, cfg.data.val_path = cfg.data.val_path, cfg.data.train_path
    with pytest.raises(InputError, match=r"val_path=.* lacks: class_0. Training has: class_1, cla"):
        labelled_loaders(cfg, T.ToTensor(), T.ToTensor())
