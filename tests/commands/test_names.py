"""Names of users are shown as they are: on the terminal, in the page, in tables, in figures."""

import csv
import html
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import make_images, only_run
from test_commands import pretrain

from solo_bayesncl import console, files
from solo_bayesncl.__main__ import main
from solo_bayesncl.commands import explain
from solo_bayesncl.report import figures, tables
from solo_bayesncl.report.figures.svg import svg_of
from solo_bayesncl.text import any_encoding

pytestmark = pytest.mark.usefixtures("narrow_backbone")

LATIN_1 = os.fsdecode(b"caf\xe9")
NAMES = ("cat [wild]", "cat [tame]", "[bold] :smile:", "=1+1", 'a|b*"$x$"', "\x1b[31mred\n",
         LATIN_1, "<script>alert(1)<!--")  # fmt: skip
SHOWN = (*NAMES[:5], r"\x1b[31mred\n", r"caf\xe9", NAMES[7])


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> Path:
    """A run on classes of every name, with an image and factors of such names."""
    folder = tmp_path_factory.mktemp("names")
    for split, number in (("train", 4), ("val", 3)):
        make_images(folder / split, classes=len(NAMES), per_class=number)
        for label, name in enumerate(NAMES):
            (folder / split / f"class_{label}").rename(folder / split / name)
    odd = folder / "val" / LATIN_1
    (odd / "0.png").rename(odd / os.fsdecode(b"\xe9 [red].png"))
    pretrain(folder, folder / "out", name="ncl.yaml")
    return only_run(folder / "out", "ncl")


@pytest.fixture(scope="module")
def explained(named) -> Path:
    assert main(["explain", str(named), "--top", "16"]) == 0
    return named


@pytest.fixture(scope="module")
def dimensions(explained) -> dict:
    """Its table, with a dimension for each class."""
    table = json.loads((explained / "dimensions.json").read_text())
    for index, dimension in enumerate(table["dimensions"]):
        dimension |= {"owner": index % len(NAMES), "support": 1, "consistency": 0.5}
    return table


def test_terminal_shows_names_as_they_are(dimensions, capsys):
    console.results.print(explain._overview(dimensions, 16))
    printed = capsys.readouterr().out
    for name in SHOWN:
        assert name in printed
    assert "\x1b" not in printed


def test_messages_are_not_read_as_markup_and_cannot_act_on_the_terminal(capsys):
    assert main(["evaluate", "[/x] \x1b[2J:smile:"]) == 2
    assert r"[/x] \x1b[2J:smile: does not exist" in capsys.readouterr().err
    assert main(["evaluate", "run", "--colour", "\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_files_hold_names_that_are_no_utf_8(explained):
    record = json.loads((explained / "dimensions.json").read_text())
    # folders in the order of their bytes
    assert sorted(record["classes"]) == sorted([*NAMES[:6], r"caf\xe9", NAMES[7]])
    paths = [tile["path"] for tile in record["thumbnails"]["tiles"]]
    assert r"val/caf\xe9/\xe9 [red].png" in paths
    assert json.loads((explained / "evaluation.json").read_text())["data"].endswith("/val")
    page = (explained / "report.html").read_text()
    assert r"caf\\xe9" in page  # in the page's JSON
    assert "<script>alert" not in page


def test_cells_that_a_spreadsheet_would_run_are_text(explained, dimensions, tmp_path):
    with (explained / "dimensions.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert "images of =1+1" in header
    rows = [{"name": name, "value": value} for name, value in FORMULAS.items()]
    files.write_csv(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["name"][0] for row in read] == ["'"] * len(rows)
    assert [files.from_cell(row["name"]) for row in read] == list(FORMULAS)
    assert [row["value"] for row in read] == ["-1.5", "-0.25", "+2", "", "x"]


FORMULAS = {"=1+1": -1.5, "+a": "-0.25", "-b": "+2", "@c": None, "\td": "x"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_terminal_of_any_encoding_can_be_written_to(
    explained, report_comparison, dimensions, monkeypatch, encoding
):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding=encoding))
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    with any_encoding():
        console.results.print(explain._overview(dimensions, 16))
        console.results.print(tables.comparison_table(report_comparison))
        console.results.print("\u4f60")
    text = written.getvalue().decode(encoding)
    assert ("+/-" if encoding == "ascii" else "±") in text
    assert r"\u4f60" in text


def with_names(comparison: dict, names: dict[str, str]) -> dict:
    """A comparison with other names in its texts and its keys."""
    text = json.dumps(comparison, ensure_ascii=False)
    for old, new in names.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    return json.loads(text)


def test_tables_show_names_of_methods_as_they_are(report_comparison):
    names = {"ncl": "a|*b*_c_<d>", "simclr": "100%_&#$~^{}\\"}
    comparison = with_names(report_comparison, names)
    markdown = tables.markdown(comparison)
    assert r"a\|\*b\*\_c\_\<d\>" in markdown
    widths = {line.count("|") - line.count(r"\|") for line in markdown.splitlines() if "|" in line}
    assert len(widths) == 2  # of the two tables
    latex = tables.latex(comparison)
    assert r"100\%\_\&\#\$\textasciitilde{}\^{}\{\}\textbackslash{}" in latex


def test_figures_show_names_as_they_are(reports, report_comparison):
    name = '$x$_^{#1b1f24} id="a" \x1b font-family: f;'
    changed = [replace(run, label=name) for run in reports if run.label == "bayesncl"]
    (svg, *_) = figures.panel_svgs("gate", changed)
    shown = html.unescape(re.sub("<[^>]*>", "", svg))
    assert name.replace("\x1b", r"\x1b") in shown
    assert "var(--ink)" in svg
    for text in (svg, svg_of(figures.figure_of("curves", changed), "salt")):
        ElementTree.fromstring(text.replace("xlink:", ""))
