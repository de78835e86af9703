"""The report page, in a real browser where one is installed, and what it is written from."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from report_data import CLASSES, METHODS, SPECIAL, build_comparison, build_runs

from solo_bayesncl.errors import InputError
from solo_bayesncl.report import figures
from solo_bayesncl.report.figures.style import styles
from solo_bayesncl.report.formats import MISSING, formatted
from solo_bayesncl.report.page import write_page
from solo_bayesncl.report.page_tables import gate_table
from solo_bayesncl.report.run import RunReport

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)

SORTED_BY = (
    "index",
    "consistency",
    "adjusted_consistency",
    "density",
    "support",
    "entropy",
    "monosemanticity",
    "open_rate",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return build_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def runs(folders):
    return [RunReport.read(folder) for folder in folders]


@pytest.fixture(scope="module")
def comparison(folders):
    return build_comparison(folders)


@pytest.fixture(scope="module")
def page(runs, comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, runs, comparison, "Three methods")
    return path


@pytest.fixture(scope="module")
def html(page):
    return page.read_text(encoding="utf-8")


@pytest.fixture
def copy(folders, tmp_path):
    """A BayesNCL run to damage."""
    return shutil.copytree(folders[-1], tmp_path / "run")


# ---- without a browser ----


def test_page_refers_to_nothing_outside_itself(html):
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:|//|file:)""", html)
    assert not re.search(r"url\(\s*[\"']?(?![\"']|data:|#)", html)
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_page_is_the_same_every_time(runs, comparison, page, tmp_path):
    write_page(tmp_path / "again.html", runs, comparison, "Three methods")
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_identifiers_occur_once(html):
    names = re.findall(r'\bid="([^"]+)"', html)
    assert len(names) == len(set(names))


def test_names_from_data_never_become_markup(html):
    assert SPECIAL not in html
    assert r"\u003cb\u003e\"\u0026é" in html


def test_summary_holds_means_intervals_and_verdicts(html, comparison):
    for sentence in comparison["sentences"]:
        assert sentence in html
    assert re.search(r"<td>\d+\.\d ± \d+\.\d % \[\d+\.\d, \d+\.\d\]</td>", html)
    assert "<td>significant</td>" in html or "<td>no significant difference</td>" in html


def test_settings_that_differ_come_first(html):
    settings = html[html.index('id="settings"') :]
    folded = settings.index("<details>")
    assert settings.index("method_kwargs.non_neg") < folded < settings.index("max_epochs")
    assert "versions.torch" in settings


def test_run_without_optional_files_has_a_page(copy, tmp_path):
    for name in ("dimensions.json", "thumbnails.jpg", "metrics.csv"):
        (copy / name).unlink()
    run = RunReport.read(copy)
    assert (run.dimensions, run.thumbnails, run.curves) == (None, None, {})
    write_page(tmp_path / "page.html", [run])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Metrics by space" in text
    assert 'id="dimensions"' not in text and 'id="curves"' not in text


def test_evaluation_of_before_the_new_metrics_has_a_page(copy, tmp_path):
    (copy / "dimensions.json").unlink()
    old = {"method": "ncl", "codes": {"semantic_consistency": 0.5}, "accuracy": {}}
    (copy / "evaluation.json").write_text(json.dumps(old))
    write_page(tmp_path / "page.html", [RunReport.read(copy)])
    assert "50.0 %" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_single_run_shows_its_spaces_side_by_side(runs, tmp_path):
    write_page(tmp_path / "page.html", runs[-1:])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    headings = re.search(r'<th scope="col">metric</th>(.*?)</tr>', text)[1]
    assert re.findall(r">(\w+)</th>", headings) == ["backbone", "projections", "gate", "codes"]


@pytest.mark.parametrize("name", ["evaluation.json", "args.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "list", "binary"])
def test_missing_or_damaged_record_is_one_message(copy, name, damage):
    path = copy / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"cut": content[:50], "list": b"[1]", "binary": b"\xff\xfe\x00"}[damage])
    with pytest.raises(InputError, match=re.escape(str(path))):
        RunReport.read(copy)


@pytest.mark.parametrize(
    "content",
    [{}, {"classes": ["a"], "dimensions": [{"index": 0, "support": 1, "class_counts": []}]}],
)
def test_damaged_dimensions_are_one_message(copy, content):
    (copy / "dimensions.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"dimensions\.json is damaged"):
        RunReport.read(copy)


def test_damaged_curves_are_one_message(copy):
    (copy / "metrics.csv").write_text("epoch,step,train_nce_loss_epoch\n0,9,many\n")
    with pytest.raises(InputError, match=r"metrics\.csv is damaged"):
        RunReport.read(copy)


def test_thumbnails_are_read_from_the_run_alone(copy):
    record = json.loads((copy / "dimensions.json").read_text(encoding="utf-8"))
    record["thumbnails"]["file"] = "../secret.jpg"
    (copy / "dimensions.json").write_text(json.dumps(record))
    (copy.parent / "secret.jpg").write_bytes(b"secret")
    assert RunReport.read(copy).thumbnails is None


def test_no_runs_are_one_message(tmp_path):
    with pytest.raises(InputError, match="at least one"):
        write_page(tmp_path / "page.html", [])


def test_curves_hold_the_values_of_epochs(runs):
    losses = runs[0].curves["train_nce_loss_epoch"]
    assert [epoch for epoch, _ in losses] == list(range(20))
    assert "train_nce_loss_step" not in runs[0].curves


def test_figures_are_saved_for_papers(runs, comparison, tmp_path):
    written = figures.save_figures(tmp_path / "figures", runs, comparison)
    names = {"comparison", "curves", "gate", "gate_factors", "retrieval", "selection", "factors"}
    assert {path.stem for path in written} == names
    assert {path.suffix for path in written} == {".png", ".svg"}
    assert all(path.stat().st_size > 1000 for path in written)


def test_figures_without_data_are_left_out(tmp_path):
    bare = RunReport("ncl", 0, {"method": "ncl", "codes": {}})
    assert figures.save_figures(tmp_path, [bare]) == []


def test_every_method_has_one_colour():
    found = styles(["bayesncl", "mine", "simclr", "theirs"])
    assert found["simclr"] == styles(["simclr"])["simclr"]
    assert len({style.color for style in found.values()}) == 4


# ---- in a browser ----


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("needs chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=CHROMEDRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def open_page(browser, page):
    """Opens the page afresh, at a fragment of its address, in light and 1400 px."""

    def show(fragment: str = ""):
        emulate(browser)
        resize(browser, 1400)
        browser.get("about:blank")
        browser.get(page.as_uri() + fragment)
        return browser

    return show


def emulate(browser, scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})


def resize(browser, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def find(browser, selector):
    return browser.find_element("css selector", selector)


def texts(browser, selector):
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
    return browser.execute_script(script, selector)


def choose(browser, name, value):
    """Sets a control as a person does."""
    from selenium.webdriver.support.ui import Select

    if name in ("run", "preset"):
        find(browser, f"input[name={name}][value='{value}'] + span").click()
    elif name in ("sort", "order", "owner"):
        Select(find(browser, f"[name={name}]")).select_by_value(str(value))
    else:
        box = find(browser, f"[name={name}]")
        box.clear()
        box.send_keys(str(value))


def indexes(browser):
    script = "return [...document.querySelectorAll('.card')].map((e) => Number(e.dataset.index))"
    return browser.execute_script(script)


def wait_for(browser, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 5, 0.02).until(lambda _: condition())


def dialog_is_open(browser):
    return browser.execute_script("return document.getElementById('dimension').open")


def write_browser(path, folder):
    """A page of one run that holds little but its dimensions."""
    run = RunReport.read(folder)
    write_page(path, [replace(run, curves={}, evaluation={"method": run.label, "codes": {}})])
    return path.as_uri()


def rows_of(runs, method):
    run = next(run for run in runs if run.label == method)
    return run.dimensions["dimensions"]


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


def test_sorting_orders_the_cards(open_page, runs):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    rows = {row["index"]: row for row in live(rows_of(runs, "bayesncl"))}
    for key in SORTED_BY:
        choose(browser, "sort", key)
        for order in ("ascending", "descending"):
            choose(browser, "order", order)
            shown = indexes(browser)
            assert sorted(shown) == sorted(rows)
            values = [rows[index][key] for index in shown]
            defined = [value for value in values if value is not None]
            assert values[: len(defined)] == defined, "what is undefined comes last"
            assert defined == sorted(defined, reverse=order == "descending")


def test_information_on_a_factor_is_shown_and_sorted_by(open_page, runs):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    choose(browser, "sort", "information.background")
    choose(browser, "order", "descending")
    rows = {row["index"]: row for row in live(rows_of(runs, "bayesncl"))}
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


def test_presets_best_and_worst_show_the_ends(open_page, runs):
    browser = open_page("#run=bayesncl")
    rows = [r for r in live(rows_of(runs, "bayesncl")) if r["adjusted_consistency"] is not None]
    values = sorted(row["adjusted_consistency"] for row in rows)
    by_index = {row["index"]: row["adjusted_consistency"] for row in rows}
    choose(browser, "preset", "best")
    assert [by_index[i] for i in indexes(browser)] == values[::-1][:24]
    choose(browser, "preset", "worst")
    assert [by_index[i] for i in indexes(browser)] == values[:24]


def test_filters_by_class_support_and_consistency(open_page, runs):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    choose(browser, "owner", 2)
    choose(browser, "support", 10)
    rows = rows_of(runs, "bayesncl")
    expected = [row["index"] for row in rows if row["owner"] == 2 and row["support"] >= 10]
    assert expected and indexes(browser) == expected
    assert set(texts(browser, ".owner")) == {SPECIAL}
    choose(browser, "owner", "")
    choose(browser, "consistency", 60)
    expected = [r["index"] for r in rows if r["support"] >= 10 and r["consistency"] >= 0.6]
    assert expected and indexes(browser) == expected
    choose(browser, "support", 9999)
    assert indexes(browser) == []
    assert find(browser, "#status").text.startswith("No dimension matches")


def test_dead_dimensions_are_hidden_until_asked_for(open_page, runs):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    rows = rows_of(runs, "bayesncl")
    dead = [row["index"] for row in rows if not row["support"]]
    assert dead and not set(dead) & set(indexes(browser))
    assert f"{len(rows) - len(dead)} of {len(rows)} dimensions, {len(dead)} dead" in (
        find(browser, "#status").text
    )
    find(browser, "[name=hide-dead]").click()
    assert indexes(browser) == list(range(len(rows)))
    card = find(browser, f".card[data-index='{dead[0]}']")
    assert "active on no image" in card.text and MISSING in card.text


def test_switching_the_method_shows_its_dimensions(open_page, runs):
    browser = open_page()
    choose(browser, "preset", "all")
    choose(browser, "run", METHODS.index("ncl"))
    assert indexes(browser) == [row["index"] for row in live(rows_of(runs, "ncl"))]
    shown = find(browser, ".card dd[data-field=open_rate]").text
    assert shown == MISSING
    choose(browser, "run", METHODS.index("bayesncl"))
    assert find(browser, ".card dd[data-field=open_rate]").text.endswith(" %")
    assert browser.current_url.endswith("#run=bayesncl")


def test_dimension_shows_histogram_numbers_and_images(open_page, runs):
    browser = open_page("#run=bayesncl")
    choose(browser, "preset", "all")
    row = max(rows_of(runs, "bayesncl"), key=lambda row: row["support"])
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
    from selenium.webdriver.common.keys import Keys

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
    from selenium.webdriver.common.keys import Keys

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
    assert button.text == f"Dimension {first}"
    outline = "return getComputedStyle(arguments[0], '::after').outlineStyle"
    assert browser.execute_script(outline, button) == "solid"
    button.send_keys(Keys.ENTER)
    wait_for(browser, lambda: dialog_is_open(browser))
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    wait_for(browser, lambda: f"Dimension {second} " in find(browser, "#dimension-title").text)
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_for(browser, lambda: not dialog_is_open(browser))
    assert browser.switch_to.active_element.text == f"Dimension {first}"


def test_special_characters_stay_text(open_page, runs):
    row = next(row for row in rows_of(runs, "bayesncl") if row["owner"] == 2)
    browser = open_page(f"#run=bayesncl&dim={row['index']}")
    assert SPECIAL in texts(browser, "#histogram th")
    assert SPECIAL in texts(browser, "[name=owner] option")
    assert browser.find_elements("css selector", "main b, dialog b") == []


@pytest.mark.parametrize(("scheme", "darker"), [("light", "ink"), ("dark", "paper")])
def test_text_is_readable_in_light_and_dark(open_page, scheme, darker):
    browser = open_page()
    emulate(browser, scheme)
    script = """
      const style = (selector) => getComputedStyle(document.querySelector(selector));
      return [style('body').color, style('figcaption').color, style('nav a').color,
        style('.panel text').fill, style('body').backgroundColor]"""
    *inks, paper = map(luminance, browser.execute_script(script))
    assert (paper < 0.1) == (darker == "paper")
    for ink in inks:
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5


def luminance(color: str) -> float:
    """Relative luminance of "rgb(r, g, b)" as WCAG defines it."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


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
    count = "return document.querySelectorAll('details:not([open])').length"
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
    assert browser.switch_to.active_element.text == "Dimension 60"
    more.click()
    assert indexes(browser) == list(range(150))
    assert not more.is_displayed()


def test_run_without_thumbnails_is_browsable(browser, copy, tmp_path):
    (copy / "thumbnails.jpg").unlink()
    browser.get(write_browser(tmp_path / "page.html", copy) + "#run=bayesncl&dim=2")
    assert "no thumbnails" in find(browser, "#cards").text
    assert browser.get_log("browser") == []


def test_live_dimension_without_positive_activation_says_so(browser, copy, tmp_path):
    record = json.loads((copy / "dimensions.json").read_text(encoding="utf-8"))
    row = next(row for row in record["dimensions"] if row["support"])
    row["top"] = []
    (copy / "dimensions.json").write_text(json.dumps(record))
    browser.get(write_browser(tmp_path / "page.html", copy))
    choose(browser, "preset", "all")
    card = find(browser, f".card[data-index='{row['index']}']")
    assert "no image with a positive activation" in card.text


def test_gate_is_held_against_what_projections_say_about_factors(runs, html):
    """Here the gate closes what says much about the background, and takes no notice of the cost."""
    changed = []
    for run in runs:
        rows = [dict(row) for row in run.dimensions["dimensions"]]
        for row in (row for row in rows if row["open_rate"] is not None):
            row["information"] = {"background": 1 - row["open_rate"] ** 3, "cost in $": 0.25}
        changed.append(replace(run, dimensions={**run.dimensions, "dimensions": rows}))
    (*_, background, cost) = gate_table(changed).rows
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


def test_figure_of_a_factor_tells_methods_with_a_gate_apart(runs):
    gated = [run for run in runs if run.label == "bayesncl"]
    both = [*gated, *(replace(run, label="bayesncl_gs") for run in gated)]
    titles = [panel.title for panel in figures.PANELS["gate_factors"](both, None)]
    assert titles[:2] == ["background, bayesncl", "background, bayesncl_gs"]


def test_table_of_dimensions_of_before_factors_has_a_page(copy, tmp_path):
    record = json.loads((copy / "dimensions.json").read_text(encoding="utf-8"))
    for row in record["dimensions"]:
        del row["information"]
    (copy / "dimensions.json").write_text(json.dumps(record))
    write_page(tmp_path / "page.html", [RunReport.read(copy)])
    assert "information on" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_diverged_run_is_named(copy, tmp_path):
    evaluation = json.loads((copy / "evaluation.json").read_text(encoding="utf-8"))
    (copy / "evaluation.json").write_text(json.dumps(evaluation | {"not_finite": ["codes"]}))
    write_page(tmp_path / "page.html", [RunReport.read(copy)])
    assert re.search("not finite.*bayesncl, seed 1: codes", (tmp_path / "page.html").read_text())


def test_dimensions_that_the_gate_closed_everywhere_are_in_its_figure(runs):
    """They are dead behind the gate, and the plain evidence for what it closes."""
    run = next(run for run in runs if run.label == "bayesncl")
    rows = [dict(row) for row in rows_of(runs, "bayesncl")]
    closed = next(row for row in rows if row["support"])
    closed |= {"support": 0, "consistency": None, "open_rate": 0.0, "projection_density": 0.9}
    run = replace(run, dimensions={**run.dimensions, "dimensions": rows})
    shown = [row["index"] for row in run.gated_rows]
    assert closed["index"] in shown
    (axes, *_) = figures.figure_of("gate", [run]).axes
    points = axes.collections[0].get_offsets().tolist()
    assert [0.9, 0.0] in points
