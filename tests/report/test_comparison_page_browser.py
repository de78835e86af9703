"""The page of a comparison in a real browser, where one is installed."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from solo_bayesncl.comparison.sentences import highlights, sentences
from solo_bayesncl.comparison.statistics import compare
from solo_bayesncl.report.gallery import SHOWN
from solo_bayesncl.report.page import write_page
from solo_bayesncl.report.run import RunReport

Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
from chromium import (  # noqa: E402
    CHROMEDRIVER,
    CHROMIUM,
    emulate,
    find,
    luminance,
    print_media,
    resize,
    start,
    texts,
)

PAPER_WIDTH = 1032  # of A4 landscape between its margins, in CSS pixels


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("needs chromium and chromedriver")
    driver = start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def open_page(browser, page_file):
    """Opens the page afresh, in light and 1400 px."""

    def show(fragment: str = "", path=page_file):
        emulate(browser)
        resize(browser, 1400)
        browser.get("about:blank")
        browser.get(path.as_uri() + fragment)
        return browser

    return show


@pytest.fixture(scope="module")
def large_page(tmp_path_factory):
    """10 methods, one of them gated, 2048 dimensions, 5 seeds, and images of their own for each."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    # twice as large as a pixel: as hard to compress as photos
    noise = Image.fromarray(rng.integers(0, 256, (1656, 1656, 3), dtype="uint8"))
    noise.resize((3312, 3312)).save(folder / "thumbnails.jpg", quality=90)
    reports = []
    for place in range(10):
        dimensions = large_dimensions(rng, gated=place == 0)
        for seed in range(5):
            value = 0.02 * place + 0.01 * rng.normal()
            evaluation = large_evaluation(value, f"data-{place}", gated=place == 0)
            report = RunReport(f"method_{place}", seed, evaluation, dimensions)
            reports.append(replace(report, thumbnails=folder / "thumbnails.jpg"))
    evaluations = {}
    for report in reports:
        evaluations.setdefault(report.label, {})[report.seed] = report.evaluation
    comparison = compare(evaluations)
    comparison |= {"highlights": highlights(comparison), "sentences": sentences(comparison)}
    write_page(folder / "page.html", reports, comparison, "Ten methods")
    return folder / "page.html"


def large_dimensions(rng, gated):
    counts = rng.integers(0, 40, (2048, 100))
    rows = [
        {
            "index": index,
            "support": int(of.sum()),
            "consistency": float(of.max() / of.sum()),
            "adjusted_consistency": float(rng.random()),
            "owner": int(of.argmax()),
            "class_counts": of.tolist(),
            "projection_density": float(rng.random()) if gated else None,
            "open_rate": float(rng.random()) if gated else None,
            "top": [[int(tile), 0.5] for tile in rng.choice(69**2, 9, replace=False)],
        }
        for index, of in enumerate(counts)
    ]
    tiles = [{"path": f"val/{n:05}.png", "label": n % 100} for n in range(69**2)]
    classes = [f"class number {label}" for label in range(100)]
    thumbnails = {"px": 48, "columns": 69, "tiles": tiles}
    return {"classes": classes, "samples": 5000, "thumbnails": thumbnails, "dimensions": rows}


def large_evaluation(value, data, gated):
    codes = {
        "semantic_consistency": value,
        "adjusted_consistency": value,
        "code_length": 20.0 + value,
        "active_dims": 2000,
    }
    accuracy = {"knn_backbone": 70 + value, "linear_backbone": 75 + value}
    cut = {"adjusted_consistency": value, "weighted_consistency": value, "knn": 50 + value}
    of_lengths = {"code_lengths": {length: cut for length in ("1", "3", "as_trained")}}
    gate = {"gate": {"open_rate": 0.5, "mean_open_probability": 0.6}} if gated else {}
    conditions = {"data": data, "samples": 5000, "settings": {}}
    return {"codes": codes, "accuracy": accuracy, **of_lengths, **gate, **conditions}


def shown_indexes(browser):
    script = """return [...document.querySelectorAll('.dims .term b')]
      .filter((label) => label.checkVisibility()).map((label) => label.textContent)"""
    return browser.execute_script(script)


def sideways(browser):
    return browser.execute_script("return document.documentElement.scrollWidth - innerWidth")


def test_page_loads_without_errors_or_network(open_page):
    open_page().get_log("performance")  # forgets what was before
    browser = open_page()
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = {
        event["params"]["request"]["url"].split(":")[0]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert requested <= {"file", "data", "about"}


def test_page_opens_with_images_then_numbers_then_the_figure(open_page):
    browser = open_page()
    script = """return arguments[0].map((selector) =>
      document.querySelector(selector).getBoundingClientRect().top)"""
    order = (".dims.random .tile", ".headlines td", "#lengths .panel svg", "#numbers")
    tops = browser.execute_script(script, order)
    assert tops == sorted(tops) and tops[0] < 450
    assert browser.execute_script("return document.querySelectorAll('.fold[open]').length") == 0
    assert len(texts(browser, "#summary .sentences li")) <= 5


def test_thumbnails_are_cut_from_the_sheet(open_page):
    browser = open_page()
    script = """return [...document.querySelectorAll('.dims.random .tile')].map((tile) => {
      const style = getComputedStyle(tile);
      return [style.backgroundImage.slice(0, 22), style.backgroundSize.split(' ')[0],
        style.backgroundPosition, style.width];
    })"""
    for image, sheet, position, width in browser.execute_script(script):
        assert image == 'url("data:image/jpeg;b'
        px = float(width.removesuffix("px"))
        for value in position.split():
            place = -float(value.removesuffix("px")) / px
            assert place == pytest.approx(round(place)) and place * px < float(sheet[:-2])


def test_best_and_worst_are_an_arrow_key_away(open_page):
    browser = open_page()
    seen = [shown_indexes(browser)]
    browser.execute_script("document.querySelector('#choice-random').focus()")
    for _ in range(2):
        browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        seen.append(shown_indexes(browser))
    assert [len(labels) for labels in seen] == [3 * SHOWN] * 3
    assert seen[0] != seen[1] != seen[2]
    outline = "return getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
    assert browser.execute_script(outline) == "solid"


def test_focus_on_a_number_shows_its_meaning_and_enter_leads_to_its_definition(open_page):
    browser = open_page()
    link = find(browser, ".headlines .term")
    browser.execute_script("arguments[0].focus({focusVisible: true})", link)
    tip = find(browser, "#tip")
    assert tip.is_displayed() and tip.text.startswith("Probability that two images")
    link.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()
    link.send_keys(Keys.ENTER)
    definition = find(browser, "#meaning-adjusted_consistency dd")
    assert definition.is_displayed() and definition.text.startswith("Probability that two images")


def test_link_to_a_fold_opens_it(open_page):
    browser = open_page("#settings")
    assert find(browser, "#settings table").is_displayed()


def test_fragment_that_encodes_nothing_stops_no_later_script(open_page):
    browser = open_page("#50%")
    browser.execute_script("location.hash = 'settings'")
    time.sleep(0.2)
    assert find(browser, "#settings table").is_displayed()


@pytest.mark.parametrize(("scheme", "darker"), [("light", "ink"), ("dark", "paper")])
def test_text_is_readable_in_light_and_dark(open_page, scheme, darker):
    browser = open_page()
    emulate(browser, scheme)
    script = """
      const style = (selector) => getComputedStyle(document.querySelector(selector));
      return [style('body').color, style('.method small').color, style('summary').color,
        style('.panel text').fill, style('body').backgroundColor]"""
    *inks, paper = map(luminance, browser.execute_script(script))
    assert (paper < 0.1) == (darker == "paper")
    for ink in inks:
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_no_width_scrolls_sideways(open_page, width):
    browser = open_page()
    resize(browser, width)
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert sideways(browser) <= 0


def test_paper_shows_folds_but_not_the_rows_that_tables_leave_out(open_page):
    browser = open_page()
    closed = "return [...document.querySelectorAll('details:not([open])')].map((d) => d.className)"
    before = browser.execute_script(closed)
    assert "fold" in before and "rest" in before
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert set(browser.execute_script(closed)) == {"rest"}
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(closed) == before


def test_tables_of_ten_methods_fit_on_paper(open_page, large_page):
    browser = open_page(path=large_page)
    print_media(browser)
    resize(browser, PAPER_WIDTH)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    script = """return [...document.querySelectorAll('.fold table.numbers, .dims li, .headlines')]
      .map((node) => node.getBoundingClientRect().right - innerWidth)"""
    assert max(browser.execute_script(script)) <= 0


def test_ten_methods_of_2048_dimensions_stay_small_and_open_quickly(open_page, large_page):
    assert large_page.stat().st_size < 15e6
    times = []
    for _ in range(3):  # the machine may be busy
        began = time.perf_counter()
        browser = open_page(path=large_page)
        assert len(shown_indexes(browser)) == 10 * SHOWN
        times.append(time.perf_counter() - began)
    assert min(times) < 2
