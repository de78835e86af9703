"""The browser of all dimensions of a run in a real web browser, where one is installed."""

import json
import re
from dataclasses import replace

import pytest
from report_data import CLASSES, METHODS, SPECIAL, build_runs

from solo_bayesncl.report.catalogue import DIMENSION_FIELDS
from solo_bayesncl.report.formats import MISSING, formatted
from solo_bayesncl.report.page import write_page
from solo_bayesncl.report.run import RunReport

Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
from chromium import (  # noqa: E402
    CHROMEDRIVER,
    CHROMIUM,
    choose,
    dialog_is_open,
    emulate,
    find,
    indexes,
    luminance,
    resize,
    start,
    texts,
    wait_for,
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("needs chromium and chromedriver")
    driver = start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def open_page(browser, browser_page):
    """Opens the page afresh, at a fragment of its address, in light and 1400 px."""

    def show(fragment: str = ""):
        emulate(browser)
        resize(browser, 1400)
        browser.get("about:blank")
        browser.get(browser_page.as_uri() + fragment)
        return browser

    return show


def write_browser(path, folder):
    """A page of one run that holds little but its dimensions."""
    run = RunReport.read(folder)
    write_page(path, [replace(run, curves={}, evaluation={"method": run.label, "codes": {}})])
    return path.as_uri()


def rows_of(reports, method):
    return next(run.rows for run in reports if run.label == method)


def live(rows):
    return [row for row in rows if row["support"]]


def test_page_loads_without_errors_or_network(open_page):
    open_page().get_log("performance")  # forgets what was before
    browser = open_page()
    assert browser.title == "Three methods"
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = {
        event["params"]["request"]["url"].split(":")[0]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert requested <= {"file", "data", "about"}


def test_first_view_is_a_repeatable_random_choice(open_page):
    browser = open_page()
    first = indexes(browser)
    assert len(first) == 24 and first != list(range(24))
    choose(browser, "seed", 7)
    other = indexes(browser)
    assert other != first
    choose(browser, "preset", "all")
    choose(browser, "preset", "random")
    assert indexes(browser) == other
    choose(browser, "seed", 0)
    assert indexes(browser) == first
    assert "seed 0" in find(browser, "#status").text


def test_sorting_orders_the_cards(open_page, reports):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    rows = {row["index"]: row for row in live(rows_of(reports, "bayesncl"))}
    for key in ("index", *(field.key for field in DIMENSION_FIELDS)):
        choose(browser, "sort", key)
        for order in ("ascending", "descending"):
            choose(browser, "order", order)
            shown = indexes(browser)
            assert sorted(shown) == sorted(rows)
            values = [rows[index][key] for index in shown]
            defined = [value for value in values if value is not None]
            assert values[: len(defined)] == defined, "undefined values come last"
            assert defined == sorted(defined, reverse=order == "descending")


def test_information_on_a_factor_is_shown_and_sorted_by(open_page, reports):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    choose(browser, "sort", "information.background")
    choose(browser, "order", "descending")
    rows = {row["index"]: row for row in live(rows_of(reports, "bayesncl"))}
    shown = indexes(browser)
    values = [rows[index]["information"]["background"] for index in shown]
    assert len(values) == len(rows) and values == sorted(values, reverse=True)
    find(browser, f".card[data-index='{shown[0]}'] .open").click()
    wait_for(browser, lambda: dialog_is_open(browser))
    numbers = dict(zip(texts(browser, "#numbers dt"), texts(browser, "#numbers dd"), strict=True))
    assert numbers["information on background"] == formatted(values[0], "nats")
    assert "information on cost in $" in numbers


def test_sorted_numbers_are_the_ones_shown(open_page):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    choose(browser, "sort", "consistency")
    shown = texts(browser, "dd[data-field=consistency]")[: len(indexes(browser))]
    assert all(re.fullmatch(r"\d+\.\d %", text) for text in shown)
    numbers = [float(text.split()[0]) for text in shown]
    assert numbers == sorted(numbers)


def test_presets_best_and_worst_show_the_ends(open_page, reports):
    browser = open_page("#run=bayesncl")
    rows = [r for r in live(rows_of(reports, "bayesncl")) if r["adjusted_consistency"] is not None]
    values = sorted(row["adjusted_consistency"] for row in rows)
    by_index = {row["index"]: row["adjusted_consistency"] for row in rows}
    choose(browser, "preset", "best")
    assert [by_index[i] for i in indexes(browser)] == values[::-1][:24]
    choose(browser, "preset", "worst")
    assert [by_index[i] for i in indexes(browser)] == values[:24]


def test_filters_by_class_support_and_consistency(open_page, reports):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    choose(browser, "owner", 2)
    choose(browser, "support", 10)
    rows = rows_of(reports, "bayesncl")
    expected = [row["index"] for row in rows if row["owner"] == 2 and row["support"] >= 10]
    assert expected and indexes(browser) == expected
    assert all(f"“{SPECIAL}”" in text for text in texts(browser, ".owner"))
    choose(browser, "owner", "")
    choose(browser, "consistency", 60)
    expected = [r["index"] for r in rows if r["support"] >= 10 and r["consistency"] >= 0.6]
    assert expected and indexes(browser) == expected
    choose(browser, "support", 9999)
    assert indexes(browser) == []
    assert find(browser, "#status").text.startswith("No dimension matches")


def test_dead_dimensions_are_hidden_until_asked_for(open_page, reports):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    rows = rows_of(reports, "bayesncl")
    dead = [row["index"] for row in rows if not row["support"]]
    assert dead and not set(dead) & set(indexes(browser))
    assert f"{len(rows) - len(dead)} of {len(rows)} dimensions, {len(dead)} dead" in (
        find(browser, "#status").text
    )
    find(browser, "[name=hide-dead]").click()
    assert indexes(browser) == list(range(len(rows)))
    card = find(browser, f".card[data-index='{dead[0]}']")
    assert "active on no image" in card.text and MISSING in card.text


def test_switching_the_method_shows_its_dimensions(open_page, reports):
    browser = open_page()
    choose(browser, "preset", "all")
    choose(browser, "run", METHODS.index("ncl"))
    assert indexes(browser) == [row["index"] for row in live(rows_of(reports, "ncl"))]
    shown = find(browser, ".card dd[data-field=open_rate]").text
    assert shown == MISSING
    choose(browser, "run", METHODS.index("bayesncl"))
    assert find(browser, ".card dd[data-field=open_rate]").text.endswith(" %")
    assert browser.current_url.endswith("#run=bayesncl")


def test_dimension_shows_histogram_numbers_and_images(open_page, reports):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    row = max(rows_of(reports, "bayesncl"), key=lambda row: row["support"])
    find(browser, f".card[data-index='{row['index']}'] .open").click()
    wait_for(browser, lambda: dialog_is_open(browser))

    counts = [(CLASSES[label], n) for label, n in enumerate(row["class_counts"]) if n]
    names = texts(browser, "#histogram th")
    numbers = [int(text) for text in texts(browser, "#histogram .count")]
    assert sorted(zip(names, numbers, strict=True)) == sorted(counts)
    assert numbers == sorted(numbers, reverse=True)

    shown = dict(zip(texts(browser, "#numbers dt"), texts(browser, "#numbers dd"), strict=True))
    assert shown["support"] == str(row["support"])
    assert shown["consistency"] == f"{100 * row['consistency']:.1f} %"
    assert shown["entropy"] == f"{row['entropy']:.2f}"

    tiles = browser.execute_script(
        """return [...document.querySelectorAll('#top .tile')].map((tile) => {
          const style = getComputedStyle(tile);
          return [style.backgroundImage.slice(0, 22), style.backgroundPosition, style.width];
        })"""
    )
    assert len(tiles) == len(row["top"])
    for (image, position, width), (number, _) in zip(tiles, row["top"], strict=True):
        x, y = (float(value.removesuffix("px")) for value in position.split())
        assert image == 'url("data:image/jpeg;b' and width == "96px"
        assert (-x / 96, -y / 96) == (number % 20, number // 20)


def test_address_opens_a_dimension_and_escape_closes_it(open_page):
    browser = open_page("#run=bayesncl&dim=12")
    assert dialog_is_open(browser)
    assert find(browser, "#dimension-title").text == "Dimension 12 of bayesncl, seed 0"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_for(browser, lambda: not dialog_is_open(browser))
    wait_for(browser, lambda: browser.current_url.endswith("#run=bayesncl"))
    assert find(browser, "#runs input:checked").get_attribute("value") == "2"


@pytest.mark.parametrize("fragment", ["#run=bayesncl&dim=999", "#run=%3Cb%3E&dim=1", "#summary"])
def test_address_of_nothing_opens_nothing(open_page, fragment):
    browser = open_page(fragment)
    assert not dialog_is_open(browser)
    # Chromium says at level INFO that it leaves the focus alone
    assert [e for e in browser.get_log("browser") if e["level"] in ("WARNING", "SEVERE")] == []


def test_keyboard_alone_is_enough(open_page):
    browser = open_page()
    browser.execute_script("document.querySelector('#runs input').focus()")
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert find(browser, "#runs input:checked").get_attribute("value") == "2"
    first, second = indexes(browser)[:2]
    for _ in range(20):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.get_attribute("class") == "open":
            break
    button = browser.switch_to.active_element
    assert button.text == f"dimension {first}"
    outline = "return getComputedStyle(arguments[0], '::after').outlineStyle"
    assert browser.execute_script(outline, button) == "solid"
    button.send_keys(Keys.ENTER)
    wait_for(browser, lambda: dialog_is_open(browser))
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    wait_for(browser, lambda: f"Dimension {second} " in find(browser, "#dimension-title").text)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_for(browser, lambda: not dialog_is_open(browser))
    assert browser.switch_to.active_element.text == f"dimension {first}"


def test_special_characters_stay_text(open_page, reports):
    row = next(row for row in rows_of(reports, "bayesncl") if row["owner"] == 2)
    browser = open_page(f"#run=bayesncl&dim={row['index']}")
    assert SPECIAL in texts(browser, "#histogram th")
    assert SPECIAL in texts(browser, "[name=owner] option")
    assert browser.find_elements("css selector", "#dimensions b, dialog b") == []


@pytest.mark.parametrize(("scheme", "darker"), [("light", "ink"), ("dark", "paper")])
def test_text_is_readable_in_light_and_dark(open_page, scheme, darker):
    browser = open_page()
    emulate(browser, scheme)
    script = """
      const style = (selector) => getComputedStyle(document.querySelector(selector));
      return [style('body').color, style('figcaption').color, style('.term').color,
        style('.panel text').fill, style('body').backgroundColor]"""
    *inks, paper = map(luminance, browser.execute_script(script))
    assert (paper < 0.1) == (darker == "paper")
    for ink in inks:
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5


@pytest.mark.parametrize("fragment", ["", "#run=bayesncl&dim=12"])
def test_narrow_screen_does_not_scroll_sideways(open_page, fragment):
    browser = open_page(fragment)
    resize(browser, 390)
    script = "return document.documentElement.scrollWidth - window.innerWidth"
    assert browser.execute_script(script) <= 0
    box = "const b = document.getElementById('dimension'); return b.scrollWidth - b.clientWidth"
    assert browser.execute_script(box) <= 0


def test_paper_shows_what_is_folded(open_page):
    browser = open_page()
    count = "return document.querySelectorAll('details:not([open], .rest)').length"
    assert browser.execute_script(count) > 0
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(count) == 0
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(count) > 0


def test_many_dimensions_come_page_by_page(browser, tmp_path):
    (folder,) = build_runs(tmp_path, methods=("ncl",), seeds=(0,), dims=150)
    browser.get(write_browser(tmp_path / "page.html", folder))
    choose(browser, "preset", "all")
    find(browser, "[name=hide-dead]").click()
    assert indexes(browser) == list(range(60))
    more = find(browser, "#show-more")
    assert more.text == "Show 60 more of 90"
    more.click()
    assert browser.switch_to.active_element.text == "dimension 60"
    more.click()
    assert indexes(browser) == list(range(150))
    assert not more.is_displayed()


def test_run_without_thumbnails_is_browsable(browser, bayesncl_run, tmp_path):
    (bayesncl_run / "thumbnails.jpg").unlink()
    browser.get(write_browser(tmp_path / "page.html", bayesncl_run) + "#run=bayesncl&dim=2")
    assert "no thumbnails" in find(browser, "#cards").text
    assert browser.get_log("browser") == []


def test_live_dimension_without_positive_activation_says_so(browser, bayesncl_run, tmp_path):
    record = json.loads((bayesncl_run / "dimensions.json").read_text(encoding="utf-8"))
    row = next(row for row in record["dimensions"] if row["support"])
    row["top"] = []
    (bayesncl_run / "dimensions.json").write_text(json.dumps(record))
    browser.get(write_browser(tmp_path / "page.html", bayesncl_run))
    choose(browser, "preset", "all")
    card = find(browser, f".card[data-index='{row['index']}']")
    assert "no image with a positive activation" in card.text
