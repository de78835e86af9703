"""A real browser, and what a person does in the report page."""

import re
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.ui import Select, WebDriverWait

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


def start(profile: Path) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=CHROMEDRIVER)
    return webdriver.Chrome(options=options, service=service)


def emulate(browser, scheme: str = "light") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})


def print_media(browser) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})


def resize(browser, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def find(browser, selector):
    return browser.find_element("css selector", selector)


def texts(browser, selector):
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
    return browser.execute_script(script, selector)


def choose(browser, name, value):
    """Sets a control as a person does, who unfolds it first."""
    browser.execute_script("document.getElementById('filters').open = true")
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
    return WebDriverWait(browser, 5, 0.02).until(lambda _: condition())


def dialog_is_open(browser):
    return browser.execute_script("return document.getElementById('dimension').open")


def luminance(color: str) -> float:
    """Relative luminance of "rgb(r, g, b)" as WCAG defines it."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
