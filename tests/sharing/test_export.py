"""Models in files of other libraries, loaded with these and compared with the model."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from conftest import RECIPES, only_run, tiny
from omegaconf import OmegaConf
from torch import nn

import solo_bayesncl
from solo_bayesncl import runs
from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters import adapter
from solo_bayesncl.errors import InputError
from solo_bayesncl.sharing import Encoder
from solo_bayesncl.sharing.export import export
from solo_bayesncl.sharing.formats import FORMATS
from solo_bayesncl.sharing.formats.encoder import OPSET

SUFFIXES = {"torchvision": ".pt", "timm": ".pth", "safetensors": ".safetensors", "onnx": ".onnx"}
GATE = ["method_kwargs.gate_threshold=0.49", "method_kwargs.sigmoid_temperature=0.7"]


@pytest.fixture(scope="module")
def run(images, tmp_path_factory) -> Path:
    """A BayesNCL run after one epoch."""
    out = tmp_path_factory.mktemp("run")
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "bayesncl"]
    assert main(["pretrain", *recipe, *tiny(images, out, *GATE)]) == 0
    return only_run(out, "bayesncl")


@pytest.fixture(scope="module")
def encoder(run) -> Encoder:
    return solo_bayesncl.load_encoder(run)


def untrained(run: Path, folder: Path, **changes) -> Path:
    """A run with some settings (dotted keys) changed, at its start."""
    cfg = runs.Run.open(run).cfg.copy()
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value, force_add=True)
    folder.mkdir()
    torch.manual_seed(0)
    torch.save({"state_dict": adapter().build(cfg).state_dict()}, folder / "a-ep=0.ckpt")
    (folder / "args.json").write_text(json.dumps(OmegaConf.to_container(cfg)))
    return folder


@pytest.fixture(scope="module")
def cifar_run(run, tmp_path_factory) -> Path:
    """One with solo-learn's 3x3 stem, whose data are not here."""
    folder = tmp_path_factory.mktemp("cifar") / "run"
    data = {"data.dataset": "cifar10", "data.num_classes": 10, "data.train_path": "/gone"}
    return untrained(run, folder, **data, **{"data.val_path": "/gone"})


@pytest.fixture(scope="module")
def vit_run(run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vit") / "run"
    kwargs = {"img_size": 16, "patch_size": 8}
    return untrained(run, folder, **{"backbone.name": "vit_tiny", "backbone.kwargs": kwargs})


@pytest.fixture(scope="module")
def small_run(run, tmp_path_factory) -> Path:
    """One of the small ResNet, twice as wide at its end."""
    folder = tmp_path_factory.mktemp("small") / "run"
    kwargs = {"channels": [16, 32, 64, 256]}
    return untrained(run, folder, **{"backbone.name": "small_resnet", "backbone.kwargs": kwargs})


@pytest.fixture(scope="module")
def predictor_run(run, tmp_path_factory) -> Path:
    """One whose codes are the outputs of its predictor."""
    folder = tmp_path_factory.mktemp("predictor") / "run"
    kwargs = {"method_kwargs.pred_hidden_dim": 24, "method_kwargs.queue_size": 64}
    return untrained(run, folder, method="bayesncl_nnclr", **kwargs)


def exported(run: Path, format_name: str, folder: Path, *more: str) -> Path:
    out = folder / f"model{SUFFIXES[format_name]}"
    assert main(["export", str(run), "--format", format_name, "--out", str(out), *more]) == 0
    return out


def outputs_by_usage(out: Path, images: torch.Tensor) -> torch.Tensor:
    """What the lines compute that the command prints and records."""
    names = {"images": images}
    with torch.no_grad():
        exec("\n".join(json.loads(Path(f"{out}.json").read_text())["usage"]), names)
    return names["outputs"]


@torch.no_grad()
def outputs_of(run: Path, images: torch.Tensor, format_name: str) -> torch.Tensor:
    encoder = solo_bayesncl.load_encoder(run)
    backbone = format_name in ("torchvision", "timm")
    return encoder.model.backbone(images) if backbone else encoder(images)


def refused(capsys, *arguments: object) -> str:
    """The message with which a command refuses."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("solo-bayesncl: ")
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("format_name", SUFFIXES)
def test_file_and_record_hold_what_the_model_computes(run, tmp_path, capsys, format_name):
    for package in FORMATS[format_name].requires:
        pytest.importorskip(package)
    out = exported(run, format_name, tmp_path)
    printed = capsys.readouterr().out
    record = json.loads(Path(f"{out}.json").read_text())
    assert all(line in printed for line in record["usage"])
    assert record["agreement"]["random"] < 1e-4
    assert record["agreement"]["real"] < 1e-4
    assert record["images"]["shape"] == ["N", 3, 16, 16]
    assert record["settings"]["method_kwargs"]["gate_threshold"] == 0.49
    assert {path.name for path in tmp_path.iterdir()} == {out.name, f"{out.name}.json"}
    if format_name == "onnx":
        check_graph(out)


@pytest.mark.parametrize(
    ("fixture", "format_name"),
    [
        *(("run", format_name) for format_name in SUFFIXES),
        ("cifar_run", "torchvision"),
        ("cifar_run", "safetensors"),
        ("vit_run", "timm"),
        ("vit_run", "safetensors"),
        *(("small_run", format_name) for format_name in ("timm", "safetensors", "onnx")),
        ("predictor_run", "safetensors"),
    ],
)
def test_printed_lines_compute_what_was_compared(fixture, format_name, request, tmp_path):
    for package in FORMATS[format_name].requires:
        pytest.importorskip(package)
    folder = request.getfixturevalue(fixture)
    out = exported(folder, format_name, tmp_path)
    file_format = FORMATS[format_name](solo_bayesncl.load_encoder(folder))
    loaded = file_format.load(out)
    for size in (1, 5):  # batches of any size
        images = torch.randn(size, *file_format.image_shape)
        outputs = outputs_by_usage(out, images)
        torch.testing.assert_close(outputs, loaded(images))
        expected = outputs_of(folder, images, format_name)
        assert expected.any()
        torch.testing.assert_close(outputs, expected, atol=1e-4, rtol=1e-4)


def check_graph(path: Path) -> None:
    """An ONNX file states its opset, takes any batch and carries the run's settings."""
    import onnx

    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    batch, *shape = model.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param
    assert [dim.dim_value for dim in shape] == [3, 16, 16]
    (settings,) = (prop.value for prop in model.metadata_props if prop.key == "settings")
    assert json.loads(settings)["method"] == "bayesncl"


def test_help_describes_every_format(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    described = capsys.readouterr().out
    assert all(f"{name}: " in described for name in FORMATS)


def test_torchvision_loads_its_file_strictly(run, tmp_path):
    out = exported(run, "torchvision", tmp_path)
    model = torchvision.models.resnet18()
    model.fc = nn.Identity()
    model.load_state_dict(torch.load(out, weights_only=True))
    images = torch.randn(2, 3, 16, 16)
    expected = outputs_of(run, images, "torchvision")
    torch.testing.assert_close(model.eval()(images), expected, atol=1e-4, rtol=1e-4)


def test_timm_loads_its_file_by_name_also_as_safetensors(run, tmp_path):
    out = tmp_path / "model.safetensors"
    assert main(["export", str(run), "--format", "timm", "--out", str(out)]) == 0
    model = timm.create_model("resnet18", num_classes=0, checkpoint_path=str(out)).eval()
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(model(images), outputs_of(run, images, "timm"), atol=1e-4, rtol=1e-4)


def test_usage_puts_the_cifar_stem_into_torchvision_s_resnet(cifar_run, tmp_path, capsys):
    out = exported(cifar_run, "torchvision", tmp_path)
    printed = capsys.readouterr().out
    assert "# solo-learn's stem for CIFAR, which torchvision does not have" in printed
    assert "not compared on real images" in printed
    plain = torchvision.models.resnet18()
    plain.fc = nn.Identity()
    with pytest.raises(RuntimeError, match="conv1.weight"):
        plain.load_state_dict(torch.load(out, weights_only=True))


def test_timm_has_no_cifar_stem(cifar_run, tmp_path, capsys):
    message = refused(capsys, "export", cifar_run, "--format", "timm", "--out", tmp_path / "a.pth")
    assert "3x3 stem for CIFAR, which timm's ResNets cannot be given" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fixture", "name"), [("vit_run", "vit_tiny"), ("small_run", "small_resnet")]
)
def test_torchvision_builds_other_backbones_otherwise(fixture, name, request, tmp_path, capsys):
    run = request.getfixturevalue(fixture)
    arguments = ["export", run, "--format", "torchvision", "--out", tmp_path / "a.pt"]
    assert f"holds torchvision's ResNets, not backbone.name={name}." in refused(capsys, *arguments)


@pytest.mark.parametrize("name", ["encoder.safetensors", "encoder.bin"])
def test_encoder_is_loaded_from_its_safetensors(run, encoder, tmp_path, name):
    out = tmp_path / name
    assert main(["export", str(run), "--format", "safetensors", "--out", str(out)]) == 0
    loaded = solo_bayesncl.load_encoder(out)
    images = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(loaded(images), encoder(images))
    assert loaded.settings == encoder.settings
    assert loaded.classes == encoder.classes
    parts = {name.partition(".")[0] for name in safetensors.torch.load_file(out)}
    assert parts == {"backbone", "projector", "gating_head"}


def test_missing_predictor_is_not_replaced_by_a_random_one(predictor_run, tmp_path):
    out = exported(predictor_run, "safetensors", tmp_path)
    encoder, weights = Encoder.load(out), safetensors.torch.load_file(out)
    metadata = {"settings": json.dumps(encoder.settings), "classes": "null"}
    kept = {name: value for name, value in weights.items() if not name.startswith("predictor.")}
    safetensors.torch.save_file(kept, out, metadata)
    with pytest.raises(InputError, match=r"lacks predictor\..*: it is not a whole encoder"):
        Encoder.load(out)


@pytest.mark.parametrize(
    ("weights", "metadata", "expected"),
    [
        ({"a": torch.zeros(1)}, None, "cannot be read as an encoder"),
        ({"a": torch.zeros(1)}, "settings", "it is not a whole encoder"),
        (None, None, "cannot be read as an encoder"),
    ],
)
def test_other_safetensors_are_refused(encoder, tmp_path, weights, metadata, expected):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"nothing")
    if weights is not None:
        metadata = metadata and {metadata: json.dumps(encoder.settings), "classes": "null"}
        safetensors.torch.save_file(weights, path, metadata)
    with pytest.raises(InputError, match=expected):
        solo_bayesncl.load_encoder(path)


def test_missing_library_is_one_message(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = refused(capsys, "export", run, "--format", "onnx", "--out", tmp_path / "a.onnx")
    assert "needs" in message
    assert "onnxruntime" in message
    assert 'pip install "solo-bayesncl[onnx]"' in message


@pytest.mark.parametrize("format_name", ["torchvision", "timm", "safetensors"])
def test_file_that_computes_something_else_is_not_kept(run, tmp_path, format_name):
    changed = solo_bayesncl.load_encoder(run)
    changed.model.backbone.relu = nn.Tanh()  # not visible in the weights
    out = tmp_path / "model.pth"
    with pytest.raises(InputError, match="differ from the model's by .* the file was not kept"):
        export(changed, format_name, out)
    assert list(tmp_path.iterdir()) == []


def test_file_that_the_library_does_not_load_is_not_kept(run, tmp_path):
    changed = solo_bayesncl.load_encoder(run)
    changed.model.backbone.layer1 = nn.Sequential()
    with pytest.raises(InputError, match='Missing key.* in state_dict: "layer1.0.conv1.weight"'):
        export(changed, "torchvision", tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_diverged_model_is_not_exported(run, tmp_path):
    broken = solo_bayesncl.load_encoder(run)
    nn.init.constant_(broken.model.projector[0].weight, torch.nan)
    with pytest.raises(InputError, match="differ from the model's by nan") as caught:
        export(broken, "safetensors", tmp_path / "model.safetensors")
    assert "Choose" not in str(caught.value)  # the format that it would advise is in use


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ({"width": float("nan")}, "backbone.kwargs.width=nan: give finite numbers"),
        ({"width": [1, float("-inf")]}, "backbone.kwargs.width=.*-inf.*: give finite numbers"),
        ({"lambda": 1}, "'lambda' is not a name of an argument"),
    ],
)
def test_arguments_without_a_literal_are_refused(run, tmp_path, argument, expected):
    encoder = solo_bayesncl.load_encoder(run)
    encoder.settings["backbone"]["kwargs"] = argument
    with pytest.raises(InputError, match=expected):
        export(encoder, "timm", tmp_path / "model.pth")
    assert list(tmp_path.iterdir()) == []


def test_images_with_a_gate_at_its_threshold_are_left_out(run, tmp_path):
    encoder = solo_bayesncl.load_encoder(run)
    images = 3 * torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    edge = encoder.encode(images).probs.max()  # far from the others
    encoder.model.code_options["gate_threshold"] = float(edge)
    encoder.settings["method_kwargs"]["gate_threshold"] = float(edge)
    agreement = export(encoder, "safetensors", tmp_path / "a.safetensors", images)
    assert agreement.left_out == 1
    assert agreement.real is not None


def test_existing_file_is_kept_without_overwrite(run, tmp_path, capsys):
    out = tmp_path / "model.pt"
    out.write_text("mine")
    message = refused(capsys, "export", run, "--format", "torchvision", "--out", out)
    assert "exists: give another name, or --overwrite" in message
    assert out.read_text() == "mine"
    assert exported(run, "torchvision", tmp_path, "--overwrite") == out
    assert torch.load(out, weights_only=True)


@pytest.mark.parametrize(
    ("format_name", "out", "expected"),
    [
        ("keras", "a.h5", "--format keras is not known. Choose one of: torchvision, timm,"),
        ("torchvision", ".", "is a folder: give the name of a file"),
        ("torchvision", "/proc/a/b.pt", "--out /proc/a/b.pt cannot be written"),
    ],
)
def test_wrong_values_are_refused(run, tmp_path, capsys, format_name, out, expected):
    arguments = ["export", run, "--format", format_name, "--out", tmp_path / out]
    assert expected in refused(capsys, *arguments)


@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_damaged_checkpoint_is_refused(run, tmp_path, capsys, damage):
    folder = shutil.copytree(run, tmp_path / "run")
    (checkpoint,) = folder.glob("*.ckpt")
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"hello")
    out = tmp_path / "out.pt"
    message = refused(capsys, "export", folder, "--format", "torchvision", "--out", out)
    assert "cannot be read as a checkpoint" in message
    assert not out.exists()
