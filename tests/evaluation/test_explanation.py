"""What dimensions mean: evaluation by space, factors, probes, references, one image."""

import csv
import json
import shutil
from dataclasses import replace
from math import isnan

import pytest
import timm
import torch
from conftest import RECIPES, only_run, solo_bayesncl, tiny
from omegaconf import OmegaConf
from PIL import Image

from solo_bayesncl import metrics
from solo_bayesncl.__main__ import main
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation import encoding as evaluation
from solo_bayesncl.evaluation import explanation as explain
from solo_bayesncl.evaluation import factors
from solo_bayesncl.evaluation.encoding import encode_splits
from solo_bayesncl.evaluation.measurement import measure
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.report.catalogue import METRICS
from solo_bayesncl.runs import Run

SPACES = ["backbone", "projections", "gate", "codes"]


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
    return encode_splits(run, Options())


@pytest.fixture(scope="module")
def explained(run):
    """The run's folder after `explain`."""
    assert main(["explain", str(run)]) == 0
    return run


def broken_run(run, folder, part):
    """A copy of a run whose weights of one part have diverged."""
    shutil.copytree(run, folder)
    (checkpoint,) = folder.glob("*.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    for name, weight in content["state_dict"].items():
        if name.startswith(part) and weight.is_floating_point():
            weight.fill_(torch.nan)
    torch.save(content, checkpoint)
    return folder


# Evaluation


def test_spaces_are_measured_apart(subject):
    spaces = subject.val.spaces
    assert list(spaces) == SPACES
    for name in ("backbone", "projections", "codes"):
        norms = spaces[name].norm(dim=1)
        assert ((norms - 1).abs().lt(1e-5) | norms.eq(0)).all()
    open_ = subject.val.mask > 0
    assert torch.equal(spaces["gate"] > 0, open_)
    assert torch.equal(spaces["codes"] != 0, (spaces["projections"] != 0) & open_)


def test_evaluation_has_every_metric_of_the_catalogue(subject):
    result = measure(subject)
    missing = [m.key for m in METRICS if m.path[-1] not in _of(result, m.path[:-1])]
    # those of solo-learn's probe come from another run
    assert missing == ["accuracy.linear_backbone", "accuracy.linear_backbone_top5"]


def _of(result, path):
    for name in path:
        result = result[name]
    return result


def test_method_without_gate_has_two_spaces(images, tmp_path):
    subject = encode_splits(trained_run(images, tmp_path, "ncl"), Options())
    result = measure(subject)
    assert {"backbone", "codes"} <= set(result)
    assert not {"gate", "projections"} & set(result)


def test_classes_are_matched_by_name_where_validation_lacks_one(run, with_factors, tmp_path):
    """Folders are numbered in their order, so those behind the missing one shift."""
    shutil.copytree(with_factors, tmp_path / "data")
    shutil.rmtree(tmp_path / "data/val/class_1")
    subject = encode_splits(run, Options(data=tmp_path / "data"))
    assert subject.classes == tuple(f"class_{i}" for i in range(6))
    folders = [path.split("/")[-2] for path, _ in subject.images.samples]
    assert [subject.classes[label] for label in subject.val.labels] == folders
    table = explain.explain(subject).table
    assert table["class_samples"] == [4, 0, 4, 4, 4, 4]
    assert all(
        t["path"].split("/")[1] == f"class_{t['label']}" for t in table["thumbnails"]["tiles"]
    )
    assert measure(subject)["accuracy"]["online_classifier"] is not None


def test_validation_class_that_training_lacks_is_refused(run, with_factors, tmp_path):
    shutil.copytree(with_factors, tmp_path / "data")
    (tmp_path / "data/val/class_3").rename(tmp_path / "data/val/crane")
    with pytest.raises(InputError, match="lack: crane. Training has: class_0, "):
        encode_splits(run, Options(data=tmp_path / "data"))


def test_online_classifier_says_nothing_of_other_classes_of_the_same_number(
    run, with_factors, tmp_path
):
    shutil.copytree(with_factors, tmp_path / "data")
    for folder in list((tmp_path / "data").glob("*/class_*")):
        folder.rename(folder.with_name(folder.name.replace("class", "kind")))
    subject = encode_splits(run, Options(data=tmp_path / "data"))
    assert subject.classes[0] == "kind_0"
    assert measure(subject)["accuracy"]["online_classifier"] is None


@pytest.mark.parametrize(("names", "fits"), [(["a", "b"], True), (["a", "b", "c"], False)])
def test_number_of_classes_decides_where_the_training_data_are_gone(tmp_path, names, fits):
    data = {"dataset": "custom", "train_path": str(tmp_path / "gone"), "num_classes": 2}
    run = Run(tmp_path, tmp_path / "x.ckpt", OmegaConf.create({"data": data}))
    assert evaluation._classifier_fits(run, Options(data=tmp_path), tuple(names)) == fits


def test_class_folders_with_other_names_are_not_those_of_the_online_classifier(images, tmp_path):
    shutil.copytree(images, tmp_path / "data")
    run = trained_run(tmp_path / "data", tmp_path / "out", "ncl")
    for folder in list((tmp_path / "data").glob("*/class_0")):
        folder.rename(folder.with_name("zebra"))
    subject = encode_splits(run, Options())
    assert subject.classes[-1] == "zebra"
    assert not subject.classifier_fits
    assert measure(subject)["accuracy"]["online_classifier"] is None


@pytest.mark.parametrize(
    ("part", "spaces"),
    [("projector", ["projections", "codes"]), ("backbone", SPACES)],
)
def test_diverged_model_is_reported_without_numbers(run, tmp_path, part, spaces):
    folder = broken_run(run, tmp_path / "run", part)
    assert main(["explain", str(folder)]) == 0
    result = json.loads((folder / "evaluation.json").read_text())
    assert result["not_finite"] == spaces
    for space in SPACES:
        assert (result[space]["semantic_consistency"] is None) == (space in spaces)
        assert (result["factors"]["channel"][space]["paired_dims"] is None) == (space in spaces)
    numbers = [result["codes"], result["feature_selection"], *result["retrieval"].values()]
    numbers += [result["factors"]["channel"]["codes"]]
    assert {value for of in numbers for value in of.values()} == {None}
    assert result["accuracy"]["knn_codes"] is result["accuracy"]["probe_codes"] is None
    assert (result["accuracy"]["knn_backbone"] is None) == ("backbone" in spaces)
    table = json.loads((folder / "dimensions.json").read_text())
    assert {d["support"] for d in table["dimensions"]} == {0}
    assert {d["consistency"] for d in table["dimensions"]} == {None}
    assert "are not finite" in (folder / "report.html").read_text()


def test_probes_are_undefined_where_codes_of_other_training_images_are_not_finite(subject):
    """The ranking of their dimensions is that of all training images."""
    train = replace(subject.train, not_finite=frozenset({"codes"}))
    result = measure(replace(subject, train=train))
    assert all(map(isnan, result["feature_selection"].values()))
    assert isnan(result["accuracy"]["probe_codes"])


def test_model_that_is_whole_has_nothing_that_is_not_finite(subject):
    assert measure(subject)["not_finite"] == []


def test_one_validation_image_is_measured(run, with_factors, tmp_path):
    shutil.copytree(with_factors, tmp_path / "data")
    for folder in sorted((tmp_path / "data/val").iterdir())[1:]:
        shutil.rmtree(folder)
    for path in sorted((tmp_path / "data/val/class_0").iterdir())[1:]:
        path.unlink()
    options = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    assert main(["explain", str(run), *options]) == 0
    result = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert result["samples"] == 1
    assert result["accuracy"]["knn_codes"] is not None
    assert result["codes"]["retrieval_precision_at_1"] is None


def test_factors_are_measured_by_space(subject):
    result = measure(subject)["factors"]
    assert set(result) == {"channel", "angle"}
    assert set(SPACES) < set(result["channel"])
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


NUMBERS = range(24)


@pytest.mark.parametrize(
    ("column", "kept"),
    [
        ([f"{i}.png" for i in NUMBERS], False),  # names
        ([(7 * i) % 24 + 100 for i in NUMBERS], False),  # a numbering
        ([float((7 * i) % 24) for i in NUMBERS], False),
        ([i * i for i in NUMBERS], True),
        ([i / 3 for i in NUMBERS], True),
        (["odd" if i % 2 else "even" for i in NUMBERS], True),
        (["one"] * 24, False),
        ([f"class {i // 4}" for i in NUMBERS], False),  # the 6 classes
        ([f"class {i // 8}" for i in NUMBERS], True),  # groups of them
    ],
)
def test_columns_that_merely_tell_images_apart_are_no_factors(subject, tmp_path, column, kept):
    write_metadata(tmp_path / "m.csv", subject, column)
    assert (list(factors.read_factors(tmp_path / "m.csv", subject.images)) == ["f"]) == kept


def test_numbering_of_all_splits_is_no_factor(subject, tmp_path):
    write_metadata(tmp_path / "m.csv", subject, [2 * i for i in NUMBERS])
    with (tmp_path / "m.csv").open("a") as file:
        file.writelines(f"train/{i}.png,{2 * i + 1}\n" for i in NUMBERS)
    assert factors.read_factors(tmp_path / "m.csv", subject.images) == {}


def test_text_of_many_values_is_left_out_with_a_message(subject, tmp_path, caplog):
    caplog.set_level("INFO", "solo_bayesncl")  # Hydra has set that of the root logger
    write_metadata(tmp_path / "m.csv", subject, [f"name {min(i, 20)}" for i in NUMBERS])
    assert factors.read_factors(tmp_path / "m.csv", subject.images) == {}
    assert "column f is left out: it has 21 different values" in caplog.text
    assert factors.most_levels(10_000) == 100


def test_metadata_of_spreadsheets_can_be_read(subject, tmp_path):
    """A byte-order mark, and a row with a cell too many."""
    write_metadata(tmp_path / "m.csv", subject, ["odd" if i % 2 else "even" for i in NUMBERS])
    text = (tmp_path / "m.csv").read_text().replace("even\n", "even,\n", 1)
    (tmp_path / "m.csv").write_text(text, encoding="utf-8-sig")
    assert list(factors.read_factors(tmp_path / "m.csv", subject.images)) == ["f"]


def write_metadata(path, subject, column):
    """A metadata file of the validation images with a column `f`."""
    images = (f"val/{image.split('val/')[-1]}" for image, _ in subject.images.samples)
    rows = (f"{image},{cell}\n" for image, cell in zip(images, column, strict=True))
    path.write_text("path,f\n" + "".join(rows))


@pytest.mark.parametrize("text", ["name,a\nx,1\n", "path,a\nval/other.png,1\n"])
def test_metadata_that_was_not_requested_is_left_out(run, with_factors, tmp_path, caplog, text):
    caplog.set_level("INFO", "solo_bayesncl")
    data = shutil.copytree(with_factors, tmp_path / "data")
    (data / "metadata.csv").write_text(text)
    assert encode_splits(run, Options(data=data)).factors == {}
    assert "no factors are measured" in caplog.text
    with pytest.raises(InputError, match="metadata=.*metadata.csv"):
        encode_splits(run, Options(data=data, metadata=data / "metadata.csv"))


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
    subject = encode_splits(run, options)
    assert subject.embeddings.shape == (24, 512)
    own = encode_splits(run, Options())
    assert torch.equal(own.embeddings, own.val.feats)
    score = metrics.monosemanticity(subject.val.codes, subject.embeddings)
    assert measure(subject)["codes"]["monosemanticity"] == float(score.mean)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--reference", "resnet9000"], "is not a model of timm"),
        (
            ["--reference-weights", "setup.py"],
            "setup.py: also give the reference",
        ),
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
    assert "--reference resnet10t: its weights cannot be downloaded" in done.stderr
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
        active = codes[:, d["index"]].abs() > metrics.ACTIVE
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


def test_table_holds_what_projections_say_about_factors(explained, subject):
    table = json.loads((explained / "dimensions.json").read_text())
    with (explained / "dimensions.csv").open() as file:
        columns = list(csv.DictReader(file))
    for name, factor in subject.factors.items():
        expected = metrics.mutual_information(subject.val.projections, factor.levels).tolist()
        found = [d["information"][name] for d in table["dimensions"]]
        assert found == pytest.approx(expected, abs=1e-6)
        assert [float(row[f"information on {name}"]) for row in columns] == found


@pytest.mark.parametrize("entries", [1, 150, 2**24])
def test_most_activating_images_are_those_of_a_stable_sort(monkeypatch, entries):
    """Many values are equal, in chunks of one column, of some and of all."""
    monkeypatch.setattr(explain, "CHUNK_ENTRIES", entries)
    generator = torch.Generator().manual_seed(0)
    for samples, levels in ((5, 3), (50, 4), (50, 1), (200, 30)):
        codes = torch.randint(-1, levels, (samples, 7), generator=generator).float()
        ranked = codes.sort(dim=0, descending=True, stable=True)
        places, values = explain._most_activating(codes)
        assert torch.equal(places, ranked.indices[:9].T)
        assert torch.equal(values, ranked.values[:9].T)


def test_too_many_thumbnails_leave_every_dimension_its_strongest_images(subject, monkeypatch):
    whole = explain.explain(subject).table
    monkeypatch.setattr(explain, "MAX_THUMBNAILS", 8)
    cut = explain.explain(subject).table
    assert len(cut["thumbnails"]["tiles"]) == 8 < len(whole["thumbnails"]["tiles"])
    some, every = shown_paths(cut), shown_paths(whole)
    assert some != every
    for paths, all_paths in zip(some, every, strict=True):
        assert paths == all_paths[: len(paths)]
        assert bool(paths) == bool(all_paths)


def shown_paths(table):
    """The images of each dimension."""
    tiles = table["thumbnails"]["tiles"]
    return [[tiles[tile]["path"] for tile, _ in row["top"]] for row in table["dimensions"]]


def test_sheet_of_thumbnails_fits_into_a_jpeg():
    for tiles in (0, 1, 33, 1500, explain.MAX_THUMBNAILS):
        columns = explain._num_columns(tiles)
        assert columns * -(-tiles // columns) >= tiles
        assert max(columns, -(-tiles // columns)) * explain.THUMBNAIL_PX < 65_500


def test_thumbnails_are_the_images(explained, subject):
    table = json.loads((explained / "dimensions.json").read_text())
    sprite = Image.open(explained / "thumbnails.jpg")
    tile = table["thumbnails"]["tiles"][0]
    (path,) = (p for p, _ in subject.images.samples if p.endswith(tile["path"]))
    expected = Image.open(path).convert("RGB").resize((48, 48), Image.Resampling.NEAREST)
    shown = sprite.crop((0, 0, 48, 48))
    assert pixels(shown).sub(pixels(expected)).abs().mean() < 20  # JPEG of noise


def test_one_image_is_described_by_its_dimensions_and_closed_gates(
    explained, subject, capsys, tmp_path
):
    path, _ = subject.images.samples[5]
    described = explain.describe_image(subject, path)
    torch.testing.assert_close(described.codes[0], subject.val.codes[5], rtol=1e-4, atol=1e-5)
    options = ["--image", path, "--top", "16", "--out", str(tmp_path)]
    assert main(["explain", str(explained), *options]) == 0
    printed = capsys.readouterr().out
    active = int((described.codes[0] > metrics.ACTIVE).sum())
    closed = int(((described.projections[0] > metrics.ACTIVE) & (described.mask[0] == 0)).sum())
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


def test_negative_activations_describe_an_image_as_positive_ones_do(images, tmp_path, capsys):
    """Codes of SimCLR are signed."""
    run = trained_run(images, tmp_path, "simclr")
    path = images / "val/class_0/0.png"
    options = ["--image", str(path), "--top", "16", "--out", str(tmp_path / "out")]
    assert main(["explain", str(run), *options]) == 0
    printed = capsys.readouterr().out
    (codes,) = explain.describe_image(encode_splits(run, Options()), path).codes
    assert codes.min() < 0
    assert f"{int((codes.abs() > metrics.ACTIVE).sum())} active dimensions" in printed
    places = [
        printed.index(f"{value:.3f}") for value in codes[codes.abs().argsort(descending=True)[:4]]
    ]
    assert places == sorted(places)


def test_dimension_that_is_never_positive_shows_no_image(subject):
    codes = -subject.val.codes.abs()
    negative = replace(subject, val=replace(subject.val, codes=codes))
    table = explain.explain(negative).table
    assert any(d["support"] for d in table["dimensions"])
    assert all(d["top"] == [] for d in table["dimensions"])


def test_cifar_is_explained(cifar10, tmp_path, capsys):
    """Its images are no files, and a file that is none of them must not stop it."""
    recipe = ["--config-path", str(RECIPES / "pretrain/cifar"), "--config-name", "bayesncl"]
    paths = [f"data.{split}_path={cifar10}" for split in ("train", "val")]
    overrides = ["data.dataset=cifar10", *paths, "augmentations.0.crop_size=32"]
    assert main(["pretrain", *recipe, *tiny(cifar10, tmp_path, *overrides)]) == 0
    run = only_run(tmp_path, "bayesncl")
    (cifar10.parent / "metadata.csv").write_text("path,background\nval/0.png,sky\n")
    assert main(["explain", str(run)]) == 0
    assert "only images in folders can have factors" in capsys.readouterr().err

    subject = encode_splits(run, Options())
    assert subject.classifier_fits
    table = json.loads((run / "dimensions.json").read_text())
    assert table["classes"] == [f"class {i}" for i in range(10)]
    tiles = table["thumbnails"]["tiles"]
    sample = int(tiles[0]["path"])
    assert tiles[0]["label"] == int(subject.val.labels[sample])
    original = Image.fromarray(subject.images.data[sample])
    shown = Image.open(run / "thumbnails.jpg").crop((0, 0, 48, 48))
    expected = original.resize((48, 48), Image.Resampling.NEAREST)
    assert pixels(shown).sub(pixels(expected)).abs().mean() < 50  # JPEG of noise

    original.save(tmp_path / "same.png")
    described = explain.describe_image(subject, tmp_path / "same.png")
    torch.testing.assert_close(described.codes[0], subject.val.codes[sample], rtol=1e-4, atol=1e-5)
    original.resize((70, 50)).save(tmp_path / "other.png")
    options = ["--out", str(tmp_path / "out")]
    for name in ("same.png", "other.png"):
        assert main(["explain", str(run), "--image", str(tmp_path / name), *options]) == 0


def pixels(image):
    return torch.tensor(list(image.getdata()), dtype=torch.float)
