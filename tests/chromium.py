"""Headless Chromium, driven by selenium: for the tests of pages and for the screenshots in docs/."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str:
    """What is not there of what it takes to drive Chromium, and how to get it; empty if all is there."""
    lacking = []
    if not any(map(shutil.which, _BROWSERS)):
        lacking.append("Chromium (apt-get install chromium)")
    if not shutil.which("chromedriver"):
        lacking.append("chromedriver (apt-get install chromium-driver)")
    try:
        import selenium  # noqa: F401
    except ImportError:
        lacking.append("selenium (pip install selenium)")
    return ", ".join(lacking)


AXE = "axe_core_python"


def violations(browser: Chrome) -> list[str]:
    """What axe-core finds wrong with the page that is shown: rule, what it says, and the elements."""
    spec = importlib.util.find_spec(AXE)
    assert spec is not None and spec.origin is not None, "pip install axe-core-python"
    browser.execute_script(Path(spec.origin).with_name("axe.min.js").read_text("utf-8"))
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:200] for node in rule['nodes']]}"
        for rule in found["violations"]
    ]


def console(browser: Chrome) -> list[str]:
    """What the console has said since the last call, but for the replies of a status other than 200."""
    logged = browser.get_log("browser")
    return [entry["message"] for entry in logged if "the server responded with a status of" not in entry["message"]]


def requested(browser: Chrome) -> list[str]:
    """URLs asked for since the last call, but for those that never leave the browser."""
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("chrome:", "chrome-untrusted:", "about:", "data:", "blob:"))]


@contextmanager
def chromium(profile: Path, *, dark: bool = False) -> Iterator[Chrome]:
    """A browser with a profile of its own. It logs the console and every network event."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, _BROWSERS)))
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options, ChromeService(shutil.which("chromedriver")))
    try:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield browser
    finally:
        browser.quit()


def resize(browser: Chrome, width: int, height: int, *, scale: float = 1, mobile: bool = False) -> None:
    """Set the size of the page's view, in CSS pixels."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def screenshot(browser: Chrome, path: Path, *, whole: bool = True) -> None:
    """Write a PNG: of the whole page, or of what its view shows."""
    arguments: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", arguments)
    path.write_bytes(base64.b64decode(taken["data"]))
