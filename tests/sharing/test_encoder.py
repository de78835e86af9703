"""A trained model outside of training: codes of images, and the description of one image."""

import copy
import json
import shutil
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from conftest import RECIPES, only_run, tiny
from PIL import Image
from torch import nn

import solo_bayesncl
from solo_bayesncl import runs
from solo_bayesncl.__main__ import main
from solo_bayesncl.data.images import ImageTransform
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation import encoding as evaluation
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.objective import Encoding
from solo_bayesncl.precision import resolve_precision
from solo_bayesncl.runs.models import load_model

# a gate between open and closed for untrained heads, and other values than the defaults
GATE = ["method_kwargs.gate_threshold=0.49", "method_kwargs.sigmoid_temperature=0.7"]


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    """A BayesNCL run after one epoch."""
    out = tmp_path_factory.mktemp("run")
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "bayesncl"]
    assert main(["pretrain", *recipe, *tiny(images, out, *GATE)]) == 0
    return only_run(out, "bayesncl")


@pytest.fixture(scope="module")
def encoder(run):
    return solo_bayesncl.load_encoder(run)


@pytest.fixture(scope="module")
def batch(encoder, images):
    """(4, 3, H, W): validation images through the encoder's transform."""
    paths = sorted((images / "val").glob("class_*/0.png"))[:4]
    return torch.stack([encoder.transform(Image.open(path)) for path in paths])


def variant(run, folder, **kwargs):
    """The same weights under other settings."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("events*"))
    settings = json.loads((folder / "args.json").read_text())
    settings["method_kwargs"] |= kwargs.pop("method_kwargs", {})
    (folder / "args.json").write_text(json.dumps(settings | kwargs))
    return folder


def by_hand(run, images, soft=False):
    """(codes, projections, gate) from the checkpoint's weights with plain torch."""
    weights = runs.load_weights(runs.checkpoint_at(run))
    backbone = load_model(runs.Run.open(run)).backbone
    feats = backbone(images)

    def head(name):
        hidden = F.linear(feats, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"]).relu()
        return F.linear(hidden, weights[f"{name}.2.weight"], weights[f"{name}.2.bias"])

    z = head("projector").relu()
    z = z / z.norm(dim=1, keepdim=True)
    alpha = torch.sigmoid(head("gating_head") / 0.7)
    gate = alpha if soft else (alpha > 0.49).float()
    return F.normalize(z * gate), z, alpha


def test_codes_are_those_of_the_paper_by_hand(run, encoder, batch):
    codes, projections, _ = by_hand(run, batch)
    found = encoder(batch)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, codes, atol=1e-5, rtol=1e-4)
    assert ((codes == 0) & (projections > 0)).any()  # the gate does something


def test_soft_gate_is_soft(run, batch, tmp_path):
    folder = variant(run, tmp_path / "run", method_kwargs={"gate_type": "soft"})
    codes, *_ = by_hand(run, batch, soft=True)
    torch.testing.assert_close(
        solo_bayesncl.load_encoder(folder)(batch), codes, atol=1e-5, rtol=1e-4
    )


def test_sampling_gate_is_free_of_noise(run, encoder, batch, tmp_path):
    folder = variant(run, tmp_path / "run", method_kwargs={"gate_type": "gumbel_sigmoid"})
    torch.testing.assert_close(solo_bayesncl.load_encoder(folder)(batch), encoder(batch))


def test_codes_are_those_that_are_evaluated(run, encoder, images):
    codes = evaluation.encode_splits(run, Options()).val.codes
    paths = sorted((images / "val").glob("class_*/*.png"))
    with torch.no_grad():
        found = encoder(torch.stack([encoder.transform(Image.open(path)) for path in paths]))
    torch.testing.assert_close(found, codes, atol=1e-5, rtol=1e-4)


def test_checkpoint_file_and_folder_give_the_same(run, encoder, batch):
    (checkpoint,) = run.glob("*.ckpt")
    torch.testing.assert_close(solo_bayesncl.load_encoder(str(checkpoint))(batch), encoder(batch))


def test_encoder_knows_its_run(encoder):
    assert encoder.settings["method_kwargs"]["gate_threshold"] == 0.49
    assert encoder.classes == tuple(f"class_{i}" for i in range(6))
    assert not any(module.training for module in encoder.modules())


def test_codes_of_solo_learn_s_methods_are_their_normalised_projections(images, tmp_path):
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "barlow_twins"]
    assert main(["pretrain", *recipe, *tiny(images, tmp_path)]) == 0
    encoder = solo_bayesncl.load_encoder(only_run(tmp_path, "barlow_twins"))
    batch = torch.randn(3, 3, 16, 16)
    expected = F.normalize(encoder.model.projector(encoder.model.backbone(batch)))
    torch.testing.assert_close(encoder(batch), expected)
    described = encoder.describe(batch[0])
    assert len(described.active) == 16
    assert described.closed == ()
    assert any(dimension.value < 0 for dimension in described.active)
    assert "P(open)" not in str(described)


def test_transform_takes_images_of_any_size_and_mode(encoder):
    for mode, size in (("L", (50, 20)), ("RGBA", (7, 9)), ("RGB", (16, 16))):
        assert encoder.transform(Image.new(mode, size)).shape == (3, 16, 16)


def test_images_of_cifar_s_own_size_are_only_normalised(run):
    cfg = runs.Run.open(run).cfg.copy()
    cfg.data.dataset, cfg.augmentations[0].crop_size = "cifar10", 32
    transform = ImageTransform(cfg)
    image = Image.effect_noise((32, 32), 80).convert("RGB")
    torch.testing.assert_close(transform(image), transform.own(image))
    assert transform(image.resize((100, 70))).shape == (3, 32, 32)


def test_description_names_active_and_closed_dimensions(run, encoder, batch):
    _, projections, alpha = by_hand(run, batch)
    codes = encoder(batch)[0]
    described = encoder.describe(batch[0])
    values = [dimension.value for dimension in described.active]
    assert values == sorted(values, reverse=True)
    assert {d.index: pytest.approx(d.value, abs=1e-5) for d in described.active} == {
        i: float(codes[i]) for i in range(16) if codes[i] > 1e-5
    }
    assert {d.index for d in described.closed} == {
        i for i in range(16) if projections[0, i] > 1e-5 and codes[i] == 0
    }
    for dimension in (*described.active, *described.closed):
        assert dimension.open_probability == pytest.approx(
            float(alpha[0, dimension.index]), abs=1e-5
        )
        assert dimension.owner is None


def test_file_image_and_tensor_are_described_alike(encoder, images, batch):
    path = images / "val/class_0/0.png"
    expected = str(encoder.describe(path))
    assert str(encoder.describe(str(path))) == expected
    assert str(encoder.describe(Image.open(path))) == expected
    assert str(encoder.describe(batch[0])) == expected


def test_description_prints_as_two_tables(encoder, batch, monkeypatch):
    encoding = Encoding(
        projections=torch.tensor([[0.8, 0.0, 0.6]]),
        codes=torch.tensor([[1.0, 0.0, 0.0]]),
        probs=torch.tensor([[0.9, 0.9, 0.25]]),
        mask=torch.tensor([[1.0, 1.0, 0.0]]),
    )
    monkeypatch.setattr(type(encoder), "encode", lambda self, images: encoding)
    assert [line.split() for line in str(encoder.describe(batch[0])).splitlines()] == [
        ["1", "active", "dimensions"],
        ["dimension", "activation", "P(open)"],
        ["-----------", "------------", "---------"],
        ["0", "1.000", "0.90"],
        ["1", "active", "dimensions", "that", "the", "gate", "closed"],
        ["dimension", "activation", "P(open)"],
        ["-----------", "------------", "---------"],
        ["2", "0.600", "0.25"],
    ]


def test_dimensions_bear_the_classes_that_explain_found(run, batch, tmp_path):
    folder = variant(run, tmp_path / "run")
    assert main(["explain", str(folder)]) == 0
    table = json.loads((folder / "dimensions.json").read_text())
    described = solo_bayesncl.load_encoder(folder).describe(batch[0])
    for dimension in described.active:
        owner = table["dimensions"][dimension.index]["owner"]
        assert dimension.owner == (None if owner is None else f"class_{owner}")
    assert any(dimension.owner for dimension in described.active)
    assert "mostly" in str(described)


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16), (2, 3, 16, 16)])
def test_tensor_of_another_shape_is_refused(encoder, shape):
    with pytest.raises(InputError, match="of shape .* Give one image, normalised"):
        encoder.describe(torch.zeros(shape))


def test_file_that_is_not_an_image_is_refused(encoder, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(InputError, match="a.png cannot be read as an image"):
        encoder.describe(tmp_path / "a.png")


def test_gradients_reach_the_image(encoder, batch):
    images = batch.clone().requires_grad_()
    encoder(images).max().backward()
    assert images.grad.abs().sum() > 0


def test_encoder_can_be_copied_into_other_modules_and_trained_there(encoder, batch):
    before = encoder(batch)
    model = nn.Sequential(copy.deepcopy(encoder), nn.Linear(16, 2))
    torch.testing.assert_close(model[0](batch), before)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(batch).sum().backward()
    optimizer.step()
    assert not torch.equal(model[0](batch), before)
    assert torch.equal(encoder(batch), before)


def test_torch_traces_the_encoder(encoder, batch):
    traced = torch.jit.trace(encoder, batch[:2], check_trace=False)
    torch.testing.assert_close(traced(batch), encoder(batch))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "does not exist"),
        ({"a.ckpt": b""}, "holds no args.json"),
        ({"a.ckpt": b"", "args.json": b"{"}, "is damaged"),
        ({"a.ckpt": b"", "args.json": b'{"method": "alchemy"}'}, "names method 'alchemy'"),
    ],
)
def test_what_is_not_a_run_is_refused(tmp_path, content, expected):
    for name, written in content.items():
        (tmp_path / name).write_bytes(written)
    with pytest.raises(InputError, match=expected):
        solo_bayesncl.load_encoder(tmp_path if content else tmp_path / "nowhere")


@pytest.mark.parametrize(
    "section", ["backbone", "data", "augmentations", "optimizer", "scheduler", "method_kwargs"]
)
def test_record_without_a_section_is_refused(run, tmp_path, section):
    folder = variant(run, tmp_path / "run")
    settings = json.loads((folder / "args.json").read_text())
    del settings[section]
    (folder / "args.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=f"args.json.*{section}"):
        solo_bayesncl.load_encoder(folder)


def test_record_without_the_path_of_its_data_is_enough(run, tmp_path):
    folder = variant(run, tmp_path / "run")
    settings = json.loads((folder / "args.json").read_text())
    del settings["data"]["train_path"]
    (folder / "args.json").write_text(json.dumps(settings))
    assert solo_bayesncl.load_encoder(folder).classes == tuple(f"class_{i}" for i in range(6))
    (folder / "classes.json").unlink()  # as in runs of version 0.1.0
    assert solo_bayesncl.load_encoder(folder).classes is None


@pytest.mark.parametrize("state", [[1], {1: torch.zeros(1)}, {"a": 1}])
def test_weights_of_another_form_are_refused(run, tmp_path, state):
    folder = variant(run, tmp_path / "run")
    torch.save({"state_dict": state}, runs.checkpoint_at(folder))
    with pytest.raises(InputError, match="its state_dict is .* dict of tensors by name"):
        solo_bayesncl.load_encoder(folder)


def run_python(code: str, *arguments: object) -> str:
    """Standard output of a new interpreter that runs `code`."""
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_stays_light():
    code = "import sys, solo_bayesncl; print(sorted({'torch', 'solo', 'timm'} & set(sys.modules)))"
    assert run_python(code) == "[]"


def test_loading_an_encoder_imports_neither_sklearn_nor_matplotlib_nor_the_report(run):
    """solo-learn and its libraries may import the first two; the modules of this package do not."""
    code = """
import builtins, sys

original_import = builtins.__import__

def checked_import(name, globals=None, *arguments, **named):
    importer = (globals or {}).get("__name__", "")
    if importer.startswith("solo_bayesncl") and name.startswith(("sklearn", "matplotlib")):
        raise ImportError(f"{importer} imports {name}")
    return original_import(name, globals, *arguments, **named)

builtins.__import__ = checked_import
sys.modules["solo_bayesncl.report"] = None  # cannot be imported
import torch, solo_bayesncl
print(*solo_bayesncl.load_encoder(sys.argv[1])(torch.zeros(1, 3, 16, 16)).shape)
"""
    assert run_python(code, run) == "1 16"


def test_metrics_need_neither_sklearn_nor_matplotlib():
    code = """
import sys
sys.modules.update(sklearn=None, matplotlib=None)  # cannot be imported
import torch
from solo_bayesncl import metrics
print(metrics.active_dims(torch.eye(3)).item())
"""
    assert run_python(code) == "3.0"


@pytest.mark.parametrize(
    ("requested", "trained", "device", "expected"),
    [
        ("auto", "16-mixed", "cuda", "16-mixed"),
        ("auto", 16, "cuda", "16-mixed"),
        ("auto", "bf16", "cuda:1", "bf16-mixed"),
        ("auto", "64-true", "cuda", "32-true"),
        ("auto", None, "cuda", "32-true"),
        ("auto", "16-mixed", "cpu", "32-true"),
        ("auto", "bf16-mixed", "cpu", "32-true"),
        ("bf16-mixed", "32-true", "cpu", "bf16-mixed"),
        ("32-true", "16-mixed", "cuda", "32-true"),
    ],
)
def test_precision_is_as_requested_or_on_a_gpu_as_trained(requested, trained, device, expected):
    assert resolve_precision(requested, trained, torch.device(device)) == expected


def test_encoder_runs_in_the_requested_precision(run, encoder, batch):
    half = solo_bayesncl.load_encoder(run, precision="bf16-mixed")
    assert half(batch).dtype == torch.float32
    probs, exact = half.encode(batch).probs, encoder.encode(batch).probs
    assert not torch.equal(probs, exact)
    torch.testing.assert_close(probs, exact, atol=0.02, rtol=0)
    with pytest.raises(
        InputError, match="precision=half is not known. Choose one of: auto, 32-true"
    ):
        solo_bayesncl.load_encoder(run, precision="half")


def test_evaluation_records_device_and_precision(run, tmp_path):
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        out = tmp_path / f"{precision}.json"
        options = ["--device", "cpu", "--precision", precision, "--out", str(out)]
        assert main(["evaluate", str(run), *options]) == 0
        found[precision] = json.loads(out.read_text())
        assert found[precision]["device"] == "cpu"
        assert found[precision]["precision"] == precision
    effective_ranks = [record["backbone"]["effective_rank"] for record in found.values()]
    assert effective_ranks[0] != effective_ranks[1]
    assert effective_ranks[0] == pytest.approx(effective_ranks[1], rel=0.05)
