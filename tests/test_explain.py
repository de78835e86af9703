"""What dimensions mean: evaluation by space, factors, probes, references, one image."""

import csv
import json
import shutil

import pytest
import timm
import torch
from conftest import RECIPES, only_run, solo_bayesncl, tiny
from PIL import Image

from solo_bayesncl import evaluation, explain, factors, metrics, probes
from solo_bayesncl.__main__ import main
from solo_bayesncl.errors import InputError
from solo_bayesncl.options import Options
from solo_bayesncl.report.catalogue import METRICS


def trained_run(images, out, name, *overrides):
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", name]
    assert main(["pretrain", *recipe, *tiny(images, out, *overrides)]) == 0
    return only_run(out, name.split("_")[0])


@pytest.fixture(scope="module")
def with_factors(images, tmp_path_factory):
    """The images with known factors: the channel that a class is bright in, and chance."""
    folder = tmp_path_factory.mktemp("data") / "data"
    shutil.copytree(images, folder)
    rows = []
    for number, path in enumerate(sorted(folder.glob("*/*/*.png"))):
        label = int(path.parent.name.removeprefix("class_"))
        rows.append(
            {
                "path": path.relative_to(folder).as_posix(),
                "class": path.parent.name,
                "channel": "RGB"[label % 3],
                "constant": 1,
                "number": number,
                "angle": f"{(7 * number) % 60 / 10:.2f}",
            }
        )
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def run(with_factors, tmp_path_factory):
    """A BayesNCL run that has learned something."""
    out = tmp_path_factory.mktemp("run")
    return trained_run(with_factors, out, "bayesncl", "max_epochs=3")


@pytest.fixture(scope="module")
def subject(run):
    return evaluation.examine(run, Options())


@pytest.fixture(scope="module")
def explained(run):
    """The run's folder after `explain`."""
    assert main(["explain", str(run)]) == 0
    return run


# Evaluation


def test_spaces_are_measured_apart(subject):
    spaces = subject.val.spaces
    assert list(spaces) == ["backbone", "projections", "gate", "codes"]
    for name in ("backbone", "projections", "codes"):
        norms = spaces[name].norm(dim=1)
        assert ((norms - 1).abs().lt(1e-5) | norms.eq(0)).all()
    open_ = subject.val.mask > 0
    assert torch.equal(spaces["gate"] > 0, open_)
    assert torch.equal(spaces["codes"] != 0, (spaces["projections"] != 0) & open_)


def test_evaluation_has_every_metric_of_the_catalogue(subject):
    result = evaluation.measure(subject)
    missing = [m.key for m in METRICS if m.path[-1] not in _of(result, m.path[:-1])]
    # those of the host's probe come from another run
    assert missing == ["accuracy.linear_backbone", "accuracy.linear_backbone_top5"]


def _of(result, path):
    for name in path:
        result = result[name]
    return result


def test_method_without_gate_has_two_spaces(images, tmp_path):
    subject = evaluation.examine(trained_run(images, tmp_path, "ncl"), Options())
    result = evaluation.measure(subject)
    assert {"backbone", "codes"} <= set(result)
    assert not {"gate", "projections"} & set(result)


def test_factors_are_measured_by_space(subject):
    result = evaluation.measure(subject)["factors"]
    assert set(result) == {"channel", "angle"}
    assert result["channel"]["levels"] == 3
    assert result["channel"]["kind"] == "categorical"
    channel = result["channel"]["codes"]
    levels = subject.factors["channel"].levels
    assert channel["semantic_consistency"] == pytest.approx(
        float(metrics.semantic_consistency(subject.val.codes, levels))
    )
    assert channel["mutual_information_max"] >= channel["mutual_information_mean"]
    # what the class decides is in the codes, what chance decides is not
    angle = result["angle"]["codes"]
    assert channel["mutual_information_mean"] > angle["mutual_information_mean"]


def test_factors_follow_the_order_of_the_images(subject, with_factors):
    by_class = {0: "R", 1: "G", 2: "B", 3: "R", 4: "G", 5: "B"}
    names = sorted(set(by_class.values()))
    expected = [names.index(by_class[int(label)]) for label in subject.val.labels]
    assert subject.factors["channel"].levels.tolist() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name,a\nx,1\n", "needs a header with a column `path`"),
        ("path,a\nval/class_0/0.png,1\n", "has no row for val/class_0/1.png"),
        ("", "needs a header"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(subject, tmp_path, text, expected):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        factors.read_factors(tmp_path / "m.csv", subject.images)


# Probes


def test_linear_accuracy_of_separable_codes_is_perfect_and_of_noise_is_chance():
    labels = torch.arange(400) % 4
    codes = torch.eye(4)[labels]
    assert probes.linear_accuracy(codes, labels, codes, labels) == 100
    generator = torch.Generator().manual_seed(0)
    noise = torch.nn.functional.normalize(torch.randn(800, 8, generator=generator))
    accuracy = probes.linear_accuracy(noise[:400], labels, noise[400:], labels)
    assert accuracy == pytest.approx(25, abs=3 * 100 * (0.25 * 0.75 / 400) ** 0.5)


def test_feature_selection_takes_the_most_active_dimensions():
    """Eight strong dimensions are noise, the weaker ones tell the class."""
    labels = torch.arange(200) % 2
    noise = 5 + torch.rand(200, 8, generator=torch.Generator().manual_seed(0))
    telling = torch.eye(2)[labels].repeat(1, 4)
    codes = torch.cat([telling, noise], dim=1)
    found = probes.feature_selection(codes, labels, codes, labels)
    assert list(found) == ["8", "16"]
    assert found["8"] < 80
    assert found["16"] == 100


def test_subspaces_double_up_to_all_dimensions():
    assert probes.subspace_sizes(100, least=8) == [8, 16, 32, 64, 100]
    assert probes.subspace_sizes(64, least=32) == [32, 64]
    assert probes.subspace_sizes(5, least=8) == [5]


# Reference embeddings


@pytest.fixture(scope="module")
def timm_weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "weights.pth"
    torch.save(timm.create_model("resnet10t").state_dict(), path)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_any_timm_model_can_be_the_reference(run, timm_weights, tmp_path, suffix):
    from safetensors.torch import save_file

    weights = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        shutil.copy(timm_weights, weights)
    else:
        save_file(torch.load(timm_weights, weights_only=True), weights)
    options = Options(reference="resnet10t", reference_weights=weights)
    subject = evaluation.examine(run, options)
    assert subject.embeddings.shape == (24, 512)
    own = evaluation.examine(run, Options())
    assert torch.equal(own.embeddings, own.val.feats)
    score = metrics.monosemanticity(subject.val.codes, subject.embeddings)
    assert evaluation.measure(subject)["codes"]["monosemanticity"] == float(score.mean)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--reference", "resnet9000"], "is not a model of timm"),
        (["--reference-weights", "setup.py"], "needs --reference"),
        (["--reference", "resnet10t", "--reference-weights", "none.pth"], "is not a file"),
        (["--reference", "resnet10t", "--reference-weights", "{bad}"], "cannot be loaded"),
        (["--metadata", "none.csv"], "--metadata none.csv is not a file"),
        (["--image", "none.png"], "--image none.png is not a file"),
        (["--image", "{bad}"], "cannot be read as an image"),
        (["--top", "0"], "--top 0"),
        (["--out", "/proc/here"], "--out /proc/here cannot be written"),
    ],
)
def test_explain_refuses_what_it_cannot_use(run, tmp_path, capsys, options, expected):
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    options = [option.format(bad=tmp_path / "bad.pth") for option in options]
    assert main(["explain", str(run), *options]) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert "Traceback" not in message


def test_reference_that_cannot_be_downloaded_is_one_message(run):
    done = solo_bayesncl("explain", run, "--reference", "resnet10t", env={"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 2
    assert "Give a file with --reference-weights FILE" in done.stderr
    assert "Traceback" not in done.stderr


# Dimensions


def test_explain_writes_table_thumbnails_and_page(explained, capsys):
    table = json.loads((explained / "dimensions.json").read_text())
    assert len(table["dimensions"]) == 16
    assert table["classes"] == [f"class_{i}" for i in range(6)]
    assert table["class_samples"] == [4] * 6
    sprite = Image.open(explained / "thumbnails.jpg")
    per_row = table["thumbnails"]["columns"]
    rows = -(-len(table["thumbnails"]["tiles"]) // per_row)
    assert sprite.size == (48 * per_row, 48 * rows)
    assert "<html" in (explained / "report.html").read_text()
    assert (explained / "evaluation.json").exists()
    with (explained / "dimensions.csv").open() as file:
        columns = list(csv.DictReader(file))
    assert [int(row["index"]) for row in columns] == list(range(16))
    live = next(d for d in table["dimensions"] if d["support"])
    row = columns[live["index"]]
    assert row["owner"] == table["classes"][live["owner"]]
    assert [int(row[f"images of class_{i}"]) for i in range(6)] == live["class_counts"]


def test_table_of_dimensions_says_what_the_codes_say(explained, subject):
    table = json.loads((explained / "dimensions.json").read_text())
    codes, labels = subject.val.codes, subject.val.labels
    assert any(d["support"] for d in table["dimensions"])
    for d in table["dimensions"]:
        active = codes[:, d["index"]] > 1e-5
        assert d["support"] == int(active.sum())
        assert d["class_counts"] == labels[active].bincount(minlength=6).tolist()
        open_rate = float((subject.val.mask[:, d["index"]] > 0).float().mean())
        assert d["open_rate"] == pytest.approx(open_rate, abs=1e-6)
        strongest = codes[:, d["index"]].sort(descending=True).values[:9]
        shown = [value for _, value in d["top"]]
        assert shown == pytest.approx([float(v) for v in strongest if v > 1e-5], abs=1e-4)
        for tile, value in d["top"]:
            place = table["thumbnails"]["tiles"][tile]
            sample = [
                i for i, (path, _) in enumerate(subject.images.samples)
                if path.endswith(place["path"])
            ]  # fmt: skip
            assert float(codes[sample[0], d["index"]]) == pytest.approx(value, abs=1e-4)
            assert place["label"] == int(labels[sample[0]])
        if d["support"] == 0:
            assert d["owner"] is d["consistency"] is None
            assert d["top"] == []


def test_thumbnails_are_the_images(explained, subject):
    table = json.loads((explained / "dimensions.json").read_text())
    sprite = Image.open(explained / "thumbnails.jpg")
    tile = table["thumbnails"]["tiles"][0]
    (path,) = (p for p, _ in subject.images.samples if p.endswith(tile["path"]))
    expected = Image.open(path).convert("RGB").resize((48, 48), Image.Resampling.NEAREST)
    shown = sprite.crop((0, 0, 48, 48))
    difference = torch.tensor(list(shown.getdata()), dtype=torch.float) - torch.tensor(
        list(expected.getdata()), dtype=torch.float
    )
    assert difference.abs().mean() < 20  # JPEG of noise


def test_one_image_is_described_by_its_dimensions_and_closed_gates(
    explained, subject, capsys, tmp_path
):
    path, _ = subject.images.samples[5]
    described = explain.describe_image(subject, path)
    torch.testing.assert_close(described.codes[0], subject.val.codes[5], rtol=1e-4, atol=1e-5)
    options = ["--image", path, "--top", "16", "--out", str(tmp_path)]
    assert main(["explain", str(explained), *options]) == 0
    printed = capsys.readouterr().out
    active = int((described.codes[0] > 0).sum())
    closed = int(((described.projections[0] > 0) & (described.mask[0] == 0)).sum())
    assert f"{active} active dimensions" in printed
    assert f"{closed} active dimensions that the gate closed" in printed
    strongest = int(described.codes[0].argmax())
    assert f"{described.codes[0, strongest]:.3f}" in printed


def test_image_of_any_size_and_mode_is_described(subject, tmp_path):
    Image.new("L", (50, 20), 128).save(tmp_path / "grey.png")
    described = explain.describe_image(subject, tmp_path / "grey.png")
    assert described.codes.shape == (1, 16)


def test_explain_simclr_whose_codes_are_dense(images, tmp_path, capsys):
    run = trained_run(images, tmp_path, "simclr")
    assert main(["explain", str(run), "--out", str(tmp_path / "elsewhere")]) == 0
    table = json.loads((tmp_path / "elsewhere/dimensions.json").read_text())
    assert all(d["open_rate"] is None for d in table["dimensions"])
    assert (tmp_path / "elsewhere/report.html").exists()
    assert "dimensions" in capsys.readouterr().out
