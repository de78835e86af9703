"""Tables as spreadsheets write them, and factors that some images have no value of."""

from dataclasses import replace

import pytest
import torch
from torchvision.datasets import ImageFolder

from solo_bayesncl import files, metrics
from solo_bayesncl.data.unreadable import Reading, UnreadableImages
from solo_bayesncl.errors import InputError
from solo_bayesncl.evaluation.evaluated_model import EvaluatedModel
from solo_bayesncl.evaluation.explanation import _columns
from solo_bayesncl.evaluation.factors import Factor, read_factors
from solo_bayesncl.evaluation.forward import Outputs
from solo_bayesncl.evaluation.measurement import _of_factor
from solo_bayesncl.evaluation.metadata import read_table
from solo_bayesncl.evaluation.options import Options
from solo_bayesncl.report.page import _facts

ROWS = [("path", "light", "size"), ("val/a/é.png", "dim", "0.5"), ("val/b/1.png", "bright", "-2")]
COLUMNS = {"light": ["dim", "bright"], "size": ["0.5", "-2"]}


def text(separator: str = ",", decimal: str = ".", end: str = "\n") -> str:
    rows = (separator.join(row).replace(".5", f"{decimal}5") for row in ROWS)
    return "".join(row + end for row in rows)


@pytest.mark.parametrize(
    "content",
    [
        text().encode(),
        text(";").encode(),
        text(";", decimal=",").encode("utf-8-sig"),
        text("\t", decimal=",", end="\r\n").encode("utf-16"),
        b"\xfe\xff" + text("\t").encode("utf-16-be"),
        text(";", end="\r\n").encode("cp1252"),
        text(end="\r").encode(),
        text().replace("path", " Path ").replace("dim", '"dim" ').encode(),
        text().replace("val/a/", "val\\a\\").replace("val/b", "./val//b").encode(),
        text().replace("é", "e\N{COMBINING ACUTE ACCENT}").encode(),
        text(";").replace("0.5\n", "0.5;;\n").encode() + b";;\n\n",
        (text() + "val/b/1.png,bright,-2\n").encode(),
        b"sep=;\r\n" + text(";").encode(),
    ],
    ids=["plain", "semicolons", "German", "Unicode text", "big-endian", "Windows", "old Mac",
         "spaces", "Windows paths", "macOS names", "empty cells and rows", "a row twice",
         "Excel's first line"],
)  # fmt: skip
def test_table_is_read_however_it_is_written(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    table = read_table(tmp_path / "t.csv")
    assert {name: column[:2] for name, column in table.columns.items()} == COLUMNS
    assert table.row_of == {"val/a/é.png": 0, "val/b/1.png": 1}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("path|light\na|1\n", "separated by commas, semicolons or tabs. Its first line is 'path|"),
        ("path,f,f\na,1,2\n", "has two columns 'f'"),
        ("path,f\na,1\na,2\n", "has two rows for a that differ"),
        ("path,f\na,1,2\n", "row 2 has 3 cells, the header 2"),
        ("path,f\nb,1\na\n", "row 3 has 1 cells, the header 2"),
        ("path,f\n", "needs rows below its header"),
        (b"path,f\n\x00\xff", "cannot be read as CSV"),
        ("path\tf\na\t1,234\nb\t950\n", "column f: 1,234 has a separator of thousands"),
        ("path;f\na;1.234,5\nb;0,5\n", "column f: 1.234,5 has a separator of thousands"),
    ],
)
def test_table_that_would_give_wrong_numbers_is_refused(tmp_path, content, expected):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=expected.replace("|", r"\|")) as raised:
        read_table(path)
    assert str(path) in str(raised.value)


def test_commas_are_no_decimal_points_where_they_separate(tmp_path):
    (tmp_path / "t.csv").write_text('path,f\na,"1,5"\nb,"12"\n')
    assert read_table(tmp_path / "t.csv").columns["f"] == ["1,5", "12"]


def test_own_table_with_names_like_formulas_is_read_back(tmp_path):
    rows = [{"path": "a", "=f": "-x", "g": -0.5}, {"path": "b", "=f": "@y", "g": 1}]
    files.write_csv(tmp_path / "t.csv", rows)
    table = read_table(tmp_path / "t.csv")
    assert table.columns == {"=f": ["-x", "@y"], "g": ["-0.5", "1"]}


@pytest.mark.parametrize("missing", ["", "NA", "N/A", "nan", "#N/A", "null"])
def test_missing_cells_are_no_level(images, tmp_path, caplog, missing):
    caplog.set_level("INFO", "solo_bayesncl")
    folder = ImageFolder(images / "val")
    cells = ["odd" if number % 2 else "even" for number in range(24)]
    numbers = [str(number / 3) for number in range(24)]
    cells[0] = numbers[5] = missing
    paths = [path.split("val/")[1] for path, _ in folder.samples]
    rows = zip(["path", *paths], ["f", *cells], ["g", *numbers], strict=True)
    (tmp_path / "m.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    factors = read_factors(tmp_path / "m.csv", folder)
    assert (factors["f"].num_levels, factors["g"].num_levels) == (2, 8)
    assert factors["g"].kind == "binned"
    assert factors["f"].known.tolist() == [False] + [True] * 23
    assert factors["f"].levels.tolist() == [number % 2 for number in range(1, 24)]
    assert "column f has no value for 1 of 24 images" in caplog.text


def test_column_of_one_value_and_missing_ones_is_no_factor(images, tmp_path):
    folder = ImageFolder(images / "val")
    rows = [f"{path.split('val/')[1]},{'NA' if label else 'x'}\n" for path, label in folder.samples]
    (tmp_path / "m.csv").write_text("path,f\n" + "".join(rows))
    assert read_factors(tmp_path / "m.csv", folder) == {}


@pytest.fixture
def evaluated() -> EvaluatedModel:
    """Outputs of 24 images that are made up, with a gate."""
    torch.manual_seed(0)
    feats, codes, projections, probs = torch.rand(4, 24, 6).unbind()
    mask = (torch.rand(24, 6) > 0.4).float()
    val = Outputs(feats, codes * mask, torch.arange(24) % 3, projections, None, probs, mask)
    return EvaluatedModel(
        None, Options(device="cpu"), None, val, None, None, ("a", "b", "c"), feats, {}, True, "32",
        UnreadableImages(Reading()), None,
    )  # fmt: skip


def test_numbers_of_a_factor_are_those_of_the_images_with_a_value(evaluated):
    """As if the other images did not exist."""
    cells = [None if number % 5 == 0 else "ab"[number % 2] for number in range(24)]
    factor = Factor.of(cells)
    kept = torch.tensor([cell is not None for cell in cells])
    rest = replace(evaluated.val, **{
        name: value[kept] for name, value in vars(evaluated.val).items() if value is not None
    })  # fmt: skip
    model = replace(evaluated, factors={"f": factor})
    alone = Factor.of([cell for cell in cells if cell])
    of_rest = replace(evaluated, val=rest, factors={"f": alone})
    found, expected = (_of_factor(of, "f") for of in (model, of_rest))
    assert found.pop("samples") == 19
    assert found == expected
    information = [row["f"] for row in _columns(model, evaluated.val)["information"]]
    mutual = metrics.mutual_information(evaluated.val.projections[kept], factor.levels)
    assert information == pytest.approx(mutual.tolist(), abs=1e-6)


def test_page_names_the_factors_that_some_images_have_no_value_of(reports):
    run = replace(reports[0], evaluation={"samples": 24, "factors": {"light": {"samples": 19}}})
    assert "light (19 of 24 images)" in _facts([run], None).values()
