"""Encoders with codes cut to a length: where the threshold comes from, and what is exported."""

import json
import shutil

import pytest
import torch
from conftest import RECIPES, only_run, tiny
from PIL import Image

import solo_bayesncl
from solo_bayesncl import metrics
from solo_bayesncl.__main__ import main
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation.code_thresholds import THRESHOLDS
from solo_bayesncl.sharing.export import export
from solo_bayesncl.sharing.formats import FORMATS

pytestmark = pytest.mark.usefixtures("narrow_backbone")

# a gate between open and closed for untrained heads
GATE = ["method_kwargs.gate_threshold=0.49"]


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory, narrow_backbone):
    """A BayesNCL run after one epoch."""
    out = tmp_path_factory.mktemp("run")
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "bayesncl"]
    assert main(["pretrain", *recipe, *tiny(images, out, *GATE)]) == 0
    return only_run(out, "bayesncl")


@pytest.fixture(scope="module")
def threshold(trained, tmp_path_factory):
    """The threshold of length 2."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("copy") / "run")
    return solo_bayesncl.load_encoder(run, code_length=2).code_threshold


@pytest.fixture
def warnings(caplog):
    caplog.set_level("WARNING", "solo_bayesncl")  # Hydra has set that of the root logger
    return caplog


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(scope="module")
def plain(trained):
    """The encoder with codes as trained."""
    return solo_bayesncl.load_encoder(trained)


@pytest.fixture(scope="module")
def batches(plain, images):
    """Training images, and noise: an image that the threshold is found on lies at it."""
    paths = sorted((images / "train").glob("*/*.png"))
    noise = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return torch.stack([plain.transform(Image.open(path)) for path in paths]), noise


@pytest.fixture(scope="module")
def cut(trained, threshold):
    """The encoder with codes of length 2."""
    encoder = solo_bayesncl.load_encoder(trained)
    encoder.code_length, encoder.code_threshold = 2, threshold
    return encoder


def edited(path, **changes):
    """Changes a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_data(run, **settings):
    """Changes the section `data` of a run's record."""
    data = json.loads((run / "args.json").read_text())["data"]
    edited(run / "args.json", data=data | settings)


def with_threshold(run, value):
    """Writes another threshold into a run's record of them."""
    (entry,) = json.loads((run / THRESHOLDS).read_text())["thresholds"]
    edited(run / THRESHOLDS, thresholds=[entry | {"threshold": value}])


@pytest.mark.parametrize("code_length", [2, 2.5])
def test_codes_are_those_of_the_cut_on_training_codes(run, plain, batches, code_length):
    train, noise = batches
    encoder = solo_bayesncl.load_encoder(run, code_length=code_length)
    with torch.no_grad():
        expected = metrics.cut(plain(noise), code_length, reference=plain(train))
        torch.testing.assert_close(encoder(noise), expected)
        assert not torch.equal(encoder(noise), plain(noise))
        # the entry at the threshold may be rounded across it
        found = float(metrics.code_length(encoder(train)))
        assert found == pytest.approx(code_length, abs=1.5 / len(train))
    assert encoder.code_length == code_length


def test_threshold_is_found_once(run, threshold):
    assert solo_bayesncl.load_encoder(run, code_length=2).code_threshold == threshold
    with_threshold(run, 0.5)
    assert solo_bayesncl.load_encoder(run, code_length=2).code_threshold == 0.5
    assert solo_bayesncl.load_encoder(run, code_length=1).code_threshold > threshold


def test_threshold_of_other_weights_is_not_taken(run, threshold):
    solo_bayesncl.load_encoder(run, code_length=2)
    with_threshold(run, 0.5)
    (checkpoint,) = run.glob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["projector.2.bias"] += 0.01
    torch.save(content, checkpoint)
    found = solo_bayesncl.load_encoder(run, code_length=2).code_threshold
    assert found not in (0.5, threshold)
    assert found == pytest.approx(threshold, abs=0.1)


@pytest.mark.parametrize("damage", ["{", "[]", '{"thresholds": 3}', '{"thresholds": [1, {}]}'])
def test_damaged_record_of_thresholds_is_replaced(run, threshold, damage):
    (run / THRESHOLDS).write_text(damage)
    assert solo_bayesncl.load_encoder(run, code_length=2).code_threshold == threshold
    (entry,) = json.loads((run / THRESHOLDS).read_text())["thresholds"]
    assert entry["threshold"] == threshold


def test_folder_that_cannot_be_written_is_enough(run, threshold, warnings):
    (run / THRESHOLDS).mkdir()  # which no file can replace
    assert solo_bayesncl.load_encoder(run, code_length=2).code_threshold == threshold
    assert "The threshold of code_length=2 is not stored" in warnings.text
    assert list((run / THRESHOLDS).iterdir()) == []


def test_threshold_is_that_of_the_evaluation(run, threshold):
    assert main(["evaluate", str(run)]) == 0
    path = run / "evaluation.json"
    lengths = json.loads(path.read_text())["code_lengths"]
    assert lengths["2"]["threshold"] == threshold
    edited(path, code_lengths=lengths | {"2": {"threshold": 0.5}, "8": {"threshold": None}})
    assert solo_bayesncl.load_encoder(run, code_length=2.0).code_threshold == 0.5
    assert solo_bayesncl.load_encoder(run, code_length=8).code_threshold == 0  # not reached
    assert not (run / THRESHOLDS).exists()
    for changes in ({"checkpoint": "/other-ep=9.ckpt"}, {"data": "/other"}, {"code_lengths": {}}):
        content = path.read_text()
        edited(path, **changes)
        assert solo_bayesncl.load_encoder(run, code_length=2).code_threshold == threshold
        (run / THRESHOLDS).unlink()
        path.write_text(content)


def test_comparison_s_evaluation_lies_above_the_run(trained, threshold, tmp_path):
    run = shutil.copytree(trained, tmp_path / "seed-0/bayesncl/offline-a")
    checkpoint, data = next(run.glob("*.ckpt")), json.loads((run / "args.json").read_text())["data"]
    evaluation = {
        "checkpoint": str(checkpoint),
        "data": data["val_path"],
        "not_finite": [],
        "code_lengths": {"2": {"threshold": 0.5}},
    }
    path = tmp_path / "seed-0/evaluation.json"
    path.write_text(json.dumps(evaluation))
    assert solo_bayesncl.load_encoder(run, code_length=2).code_threshold == 0.5
    # solo-learn's own script can give the checkpoints of all runs the same name
    edited(path, checkpoint=f"/seed-0/bayesncl/offline-b/{checkpoint.name}")
    assert solo_bayesncl.load_encoder(run, code_length=2).code_threshold == threshold


def test_without_data_the_message_names_the_command_that_stores_a_threshold(
    run, images, threshold, warnings
):
    with_data(run, train_path="/gone/train", val_path="/gone/val")
    with pytest.raises(InputError, match="/gone/train does not exist") as caught:
        solo_bayesncl.load_encoder(run, code_length=2)
    (checkpoint,) = run.glob("*.ckpt")
    command = f"explain {checkpoint} --code-length 2 --data DIR"
    assert str(caught.value).endswith(f"solo-bayesncl {command}")
    assert main(command.replace("DIR", str(images)).split()) == 0
    assert solo_bayesncl.load_encoder(run, code_length=2).code_threshold == threshold
    assert "/gone/train does not exist" in warnings.text
    assert f"the one that was found on those of {images}" in warnings.text


def test_images_without_labels_are_enough(run, images, threshold, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted((images / "train").glob("*/*.png"))):
        shutil.copy(path, flat / f"{number:02}.png")
    with_data(run, train_path=str(flat), val_path=None, no_labels=True)
    found = solo_bayesncl.load_encoder(run, code_length=2).code_threshold
    assert found == pytest.approx(threshold, abs=1e-6)


def test_codes_shorter_than_the_length_stay_as_they_are(run, plain, batches, warnings):
    encoder = solo_bayesncl.load_encoder(run, code_length=15.5)
    assert torch.equal(encoder(batches[1]), plain(batches[1]))
    assert "code_length=15.5: the codes are no longer than that as trained" in warnings.text


@pytest.mark.parametrize("code_length", [0, -1, float("nan"), float("inf"), "3"])
def test_length_that_is_not_above_zero_is_refused(trained, code_length):
    with pytest.raises(InputError, match="code_length=.*: give a number above 0"):
        solo_bayesncl.load_encoder(trained, code_length=code_length)


def test_diverged_model_has_no_threshold(run):
    (checkpoint,) = run.glob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["projector.2.bias"].fill_(torch.nan)
    torch.save(content, checkpoint)
    with pytest.raises(InputError, match="code_length=2.* are not finite, as the model diverged"):
        solo_bayesncl.load_encoder(run, code_length=2)


def test_gradients_pass_the_cut(cut, batches):
    images = batches[1][:2].clone().requires_grad_()
    cut(images).max(dim=1).values.sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad.abs().sum() > 0


def test_torch_traces_the_cut(cut, batches):
    traced = torch.jit.trace(cut, batches[1][:2], check_trace=False)
    torch.testing.assert_close(traced(batches[1]), cut(batches[1]))


def test_description_is_of_the_cut_code(cut, plain, batches):
    codes, image = cut(batches[1]), batches[1][0]
    described = cut.describe(image)
    assert {d.index for d in described.active} == {i for i in range(16) if codes[0, i] > 0}
    assert 0 < len(described.active) < len(plain.describe(image).active)
    assert described.closed == plain.describe(image).closed


def test_owners_are_those_of_a_table_of_the_same_length(run, batches):
    assert main(["explain", str(run), "--code-length", "2"]) == 0
    cut = solo_bayesncl.load_encoder(run, code_length=2).describe(batches[1][0])
    assert all(dimension.owner for dimension in cut.active)
    plain = solo_bayesncl.load_encoder(run).describe(batches[1][0])
    assert not any(dimension.owner for dimension in plain.active)


# Exports


@pytest.mark.parametrize("format_name", ["safetensors", "onnx"])
def test_export_computes_the_cut_codes(run, cut, batches, tmp_path, capsys, format_name):
    for package in FORMATS[format_name].requires:
        pytest.importorskip(package)
    out = tmp_path / f"model.{format_name}"
    arguments = ["--format", format_name, "--out", str(out), "--code-length", "2"]
    assert main(["export", str(run), *arguments]) == 0
    assert "Codes are cut to length 2: entries above" in capsys.readouterr().out
    record = json.loads((tmp_path / f"{out.name}.json").read_text())
    assert record["code_length"] == 2
    assert record["code_threshold"] == cut.code_threshold
    names = {"images": batches[1]}
    with torch.no_grad():
        exec("\n".join(record["usage"]), names)
        torch.testing.assert_close(names["outputs"], cut(batches[1]), atol=1e-4, rtol=1e-4)
    if format_name == "onnx":
        metadata = names["session"].get_modelmeta().custom_metadata_map
        assert float(metadata["code_threshold"]) == cut.code_threshold


@pytest.fixture(scope="module")
def exported(cut, tmp_path_factory):
    """Encoders as safetensors, cut and as trained."""
    folder = tmp_path_factory.mktemp("exported")
    for name, threshold in (("cut", cut.code_threshold), ("plain", None)):
        encoder = solo_bayesncl.sharing.Encoder(
            cut.model, solo_bayesncl.runs.recorded_settings(cut.settings, folder),
            code_length=threshold and 2, code_threshold=threshold,
        )  # fmt: skip
        export(encoder, "safetensors", folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize("code_length", [None, 2])
def test_exported_cut_is_loaded(exported, cut, batches, code_length):
    loaded = solo_bayesncl.load_encoder(exported / "cut.safetensors", code_length=code_length)
    assert (loaded.code_length, loaded.code_threshold) == (2, cut.code_threshold)
    assert torch.equal(loaded(batches[1]), cut(batches[1]))


@pytest.mark.parametrize(("name", "holds"), [("cut", "of length 2"), ("plain", "as trained")])
def test_export_has_no_other_length(exported, name, holds):
    with pytest.raises(InputError, match=f"code_length=3: .* was exported with codes {holds}"):
        solo_bayesncl.load_encoder(exported / f"{name}.safetensors", code_length=3)


@pytest.mark.parametrize("format_name", ["torchvision", "timm"])
def test_backbone_has_no_codes_to_cut(run, tmp_path, capsys, format_name):
    arguments = ["--format", format_name, "--out", str(tmp_path / "a.pt"), "--code-length", "2"]
    assert main(["export", str(run), *arguments]) == 2
    expected = f"--code-length 2.0: {format_name} holds the backbone, which has no codes to cut"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "a.pt").exists()


def test_images_with_an_entry_at_the_threshold_are_left_out(trained, batches, tmp_path):
    encoder = solo_bayesncl.load_encoder(trained)
    edge = float(encoder(batches[1]).detach().max())
    encoder.code_length, encoder.code_threshold = 1, edge - 1e-6
    agreement = export(encoder, "safetensors", tmp_path / "a.safetensors", batches[1])
    assert agreement.left_out == 1
