"""What the page says of each number."""

import re

from solo_bayesncl.report.catalogue import AT_EQUAL_KNN, METRICS
from solo_bayesncl.report.meanings import MEANINGS, meaning_of


def test_every_metric_has_a_meaning_and_nothing_else_has():
    names = {metric.name for metric in (*METRICS, *AT_EQUAL_KNN)}
    factors = {"mutual_information_mean", "mutual_information_max"}
    assert set(MEANINGS) == names | factors


def test_meaning_says_where_it_is_measured():
    assert meaning_of("codes.active_dims") == MEANINGS["active_dims"]
    assert meaning_of("code_lengths.as_trained.knn") == MEANINGS["knn"]
    assert "cut to 3 active dimensions" in meaning_of("code_lengths.3.knn")
    assert "backbone" in meaning_of("backbone.active_dims")
    assert "levels of a known factor" in meaning_of("factors.a.b.codes.semantic_consistency")


def test_metric_of_another_version_has_none():
    assert meaning_of("codes.unheard_of") == ""


def test_every_link_of_the_page_leads_to_something_on_it(page_file, browser_page):
    for page in (page_file, browser_page):
        html = page.read_text(encoding="utf-8")
        targets = set(re.findall(r' id="([^"]+)"', html))
        links = set(re.findall(r'href="#([^"]+)"', html))
        assert "meaning-adjusted_consistency" in links
        assert links <= targets


def test_every_row_of_numbers_has_its_meaning(page_file):
    html = page_file.read_text(encoding="utf-8")
    tables = html[html.index('id="numbers"') : html.index('id="seeds"')]
    rows = re.findall(r'<tr([^>]*)><th scope="row">(.*?)</th>', tables)
    assert len(rows) > 100
    for attributes, label in rows:
        assert "title=" in attributes and 'href="#meaning-' in label, label
