"""The report page and its figures, and the runs that they are made from."""

import json
import re
from dataclasses import replace

import pytest
from report_data import SPECIAL

from solo_bayesncl.errors import InputError
from solo_bayesncl.report import figures
from solo_bayesncl.report.figures.style import styles
from solo_bayesncl.report.formats import MISSING
from solo_bayesncl.report.page import write_page
from solo_bayesncl.report.page_tables import gate_table
from solo_bayesncl.report.run import RunReport


@pytest.fixture(scope="module")
def html(page_file):
    return page_file.read_text(encoding="utf-8")


def test_page_refers_to_nothing_outside_itself(html):
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:|//|file:)""", html)
    assert not re.search(r"url\(\s*[\"']?(?![\"']|data:|#)", html)
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_page_is_the_same_every_time(reports, report_comparison, page_file, tmp_path):
    write_page(tmp_path / "again.html", reports, report_comparison, "Three methods")
    assert (tmp_path / "again.html").read_bytes() == page_file.read_bytes()


def test_identifiers_occur_once(html):
    names = re.findall(r'\bid="([^"]+)"', html)
    assert len(names) == len(set(names))


def test_names_from_data_never_become_markup(html, browser_page):
    assert SPECIAL not in html
    assert "“&lt;b&gt;&#34;&amp;é”" in html
    browsed = browser_page.read_text(encoding="utf-8")
    assert SPECIAL not in browsed
    assert r"\u003cb\u003e\"\u0026é" in browsed


def test_summary_holds_means_intervals_and_verdicts(html, report_comparison):
    for sentence in report_comparison["sentences"]:
        assert sentence in html
    interval = r"\[\d+\.\d, \d+\.\d\]"
    assert re.search(rf"<td>\d+\.\d ± \d+\.\d % <small>{interval}</small></td>", html)
    assert "<td>not judged</td>" in html


def test_settings_that_differ_come_first(html):
    settings = html[html.index('id="settings"') :]
    folded = settings.index('<details class="rest">')
    assert settings.index("method_kwargs.non_neg") < folded < settings.index("max_epochs")
    assert "versions.torch" in settings


def test_run_without_optional_files_has_a_page(bayesncl_run, tmp_path):
    for name in ("dimensions.json", "thumbnails.jpg", "metrics.csv"):
        (bayesncl_run / name).unlink()
    run = RunReport.read(bayesncl_run)
    assert (run.dimensions, run.thumbnails, run.curves) == (None, None, {})
    write_page(tmp_path / "page.html", [run])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Metrics by space" in text
    assert 'id="dimensions"' not in text and 'id="curves"' not in text


def test_evaluation_of_an_older_version_has_a_page(bayesncl_run, tmp_path):
    (bayesncl_run / "dimensions.json").unlink()
    old = {"method": "ncl", "codes": {"semantic_consistency": 0.5}, "accuracy": {}}
    (bayesncl_run / "evaluation.json").write_text(json.dumps(old))
    write_page(tmp_path / "page.html", [RunReport.read(bayesncl_run)])
    assert "50.0 %" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_single_run_shows_its_spaces_side_by_side(reports, tmp_path):
    write_page(tmp_path / "page.html", reports[-1:])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    headings = re.search(r'<th scope="col">metric</th>(.*?)</tr>', text)[1]
    assert re.findall(r">(\w+)</th>", headings) == ["backbone", "projections", "gate", "codes"]
    lengths = text[text.index("Codes cut to a length") :]
    headings = re.search(r'<th scope="col">metric</th>(.*?)</tr>', lengths)[1]
    columns = ["1", "2", "3", "4", "8", "16", "as trained"]
    assert re.findall(r">([\w ]+)</th>", headings) == columns


@pytest.mark.parametrize("name", ["evaluation.json", "args.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "list", "binary"])
def test_missing_or_damaged_record_is_one_message(bayesncl_run, name, damage):
    path = bayesncl_run / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"cut": content[:50], "list": b"[1]", "binary": b"\xff\xfe\x00"}[damage])
    with pytest.raises(InputError, match=re.escape(str(path))):
        RunReport.read(bayesncl_run)


@pytest.mark.parametrize(
    "content",
    [{}, {"classes": ["a"], "dimensions": [{"index": 0, "support": 1, "class_counts": []}]}],
)
def test_damaged_dimensions_are_one_message(bayesncl_run, content):
    (bayesncl_run / "dimensions.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"dimensions\.json is damaged"):
        RunReport.read(bayesncl_run)


def test_damaged_curves_are_one_message(bayesncl_run):
    (bayesncl_run / "metrics.csv").write_text("epoch,step,train_nce_loss_epoch\n0,9,many\n")
    with pytest.raises(InputError, match=r"metrics\.csv is damaged"):
        RunReport.read(bayesncl_run)


def test_thumbnails_are_read_from_the_run_alone(bayesncl_run):
    record = json.loads((bayesncl_run / "dimensions.json").read_text(encoding="utf-8"))
    record["thumbnails"]["file"] = "../secret.jpg"
    (bayesncl_run / "dimensions.json").write_text(json.dumps(record))
    (bayesncl_run.parent / "secret.jpg").write_bytes(b"secret")
    assert RunReport.read(bayesncl_run).thumbnails is None


def test_no_runs_are_one_message(tmp_path):
    with pytest.raises(InputError, match="at least one"):
        write_page(tmp_path / "page.html", [])


def test_curves_hold_the_values_of_epochs(reports):
    losses = reports[0].curves["train_nce_loss_epoch"]
    assert [epoch for epoch, _ in losses] == list(range(20))
    assert "train_nce_loss_step" not in reports[0].curves


def test_figures_are_saved_for_papers(reports, report_comparison, tmp_path):
    written = figures.save_figures(tmp_path / "figures", reports, report_comparison)
    assert {path.stem for path in written} == set(figures.PANELS)
    assert {path.suffix for path in written} == {".png", ".svg"}
    assert all(path.stat().st_size > 1000 for path in written)


def test_figures_without_data_are_left_out(tmp_path):
    bare = RunReport("ncl", 0, {"method": "ncl", "codes": {}})
    assert figures.save_figures(tmp_path, [bare]) == []


def test_every_method_has_one_colour_and_marker():
    others = [f"other {number}" for number in range(8)]
    found = styles(["bayesncl", *others, "simclr"])
    assert found["simclr"] == styles(["simclr"])["simclr"]
    assert len({style.color for style in found.values()}) == 10
    assert len({style.glyph for style in found.values()}) == 10


def test_open_rate_is_compared_with_information_on_factors(reports, html):
    """Here the gate closes dimensions that carry the background, whatever they say of the cost."""
    changed = []
    for run in reports:
        rows = [dict(row) for row in run.dimensions["dimensions"]]
        for row in (row for row in rows if row["open_rate"] is not None):
            row["information"] = {"background": 1 - row["open_rate"] ** 3, "cost in $": 0.25}
        changed.append(replace(run, dimensions={**run.dimensions, "dimensions": rows}))
    (*_, background, cost) = (row.cells for row in gate_table(changed).rows)
    assert background == [
        "rank correlation of a dimension's information on background with its open rate",
        "−1.00",
    ]
    assert cost[1] == MISSING  # does not vary

    panels = figures.PANELS["gate_factors"](changed, None)
    assert [panel.title for panel in panels] == ["background", "cost in $"]
    (axes, *_) = figures.figure_of("gate_factors", changed[-1:]).axes
    rows = changed[-1].gated_rows
    expected = [[row["information"]["background"], row["open_rate"]] for row in rows]
    assert axes.collections[0].get_offsets().tolist() == expected
    assert "information on cost in $ with its open rate" in html


def test_figure_of_a_factor_has_a_panel_per_gated_method(reports):
    gated = [run for run in reports if run.label == "bayesncl"]
    both = [*gated, *(replace(run, label="bayesncl_gs") for run in gated)]
    titles = [panel.title for panel in figures.PANELS["gate_factors"](both, None)]
    assert titles[:2] == ["background, bayesncl", "background, bayesncl_gs"]


def test_dimensions_without_factors_have_a_page(bayesncl_run, tmp_path):
    record = json.loads((bayesncl_run / "dimensions.json").read_text(encoding="utf-8"))
    for row in record["dimensions"]:
        del row["information"]
    (bayesncl_run / "dimensions.json").write_text(json.dumps(record))
    write_page(tmp_path / "page.html", [RunReport.read(bayesncl_run)])
    assert "information on" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_diverged_run_is_named(bayesncl_run, tmp_path):
    evaluation = json.loads((bayesncl_run / "evaluation.json").read_text(encoding="utf-8"))
    (bayesncl_run / "evaluation.json").write_text(
        json.dumps(evaluation | {"not_finite": ["codes"]})
    )
    write_page(tmp_path / "page.html", [RunReport.read(bayesncl_run)])
    assert re.search("not finite.*bayesncl, seed 1: codes", (tmp_path / "page.html").read_text())


def test_dimensions_that_the_gate_closed_everywhere_are_in_its_figure(reports):
    """They are dead after the gate, and the clearest evidence for what it closes."""
    run = next(run for run in reports if run.label == "bayesncl")
    rows = [dict(row) for row in run.rows]
    closed = next(row for row in rows if row["support"])
    closed |= {"support": 0, "consistency": None, "open_rate": 0.0, "projection_density": 0.9}
    run = replace(run, dimensions={**run.dimensions, "dimensions": rows})
    shown = [row["index"] for row in run.gated_rows]
    assert closed["index"] in shown
    (axes, *_) = figures.figure_of("gate", [run]).axes
    points = axes.collections[0].get_offsets().tolist()
    assert [0.9, 0.0] in points
