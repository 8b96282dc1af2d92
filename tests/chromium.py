"""Headless Chromium, driven by selenium, for tests of pages and the screenshots in docs/."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def missing() -> str:
    """Return what is missing to drive Chromium and how to install it; empty if nothing is missing."""
    missing_parts = []
    if not any(map(shutil.which, _BROWSERS)):
        missing_parts.append("Chromium (apt-get install chromium)")
    if not shutil.which("chromedriver"):
        missing_parts.append("chromedriver (apt-get install chromium-driver)")
    try:
        import selenium  # noqa: F401
    except ImportError:
        missing_parts.append("selenium (pip install selenium)")
    return ", ".join(missing_parts)


AXE = "axe_core_python"


def violations(browser: Chrome) -> list[str]:
    """Return what axe-core finds wrong with the current page: rule, explanation and elements."""
    spec = importlib.util.find_spec(AXE)
    assert spec is not None and spec.origin is not None, "pip install axe-core-python"
    browser.execute_script(Path(spec.origin).with_name("axe.min.js").read_text("utf-8"))
    results = browser.execute_async_script("axe.run().then(arguments[0])")
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:200] for node in rule['nodes']]}"
        for rule in results["violations"]
    ]


def console(browser: Chrome) -> list[str]:
    """Return the console's messages since the last call, except those about replies with an error status."""
    entries = browser.get_log("browser")
    return [entry["message"] for entry in entries if "the server responded with a status of" not in entry["message"]]


def requested(browser: Chrome) -> list[str]:
    """Return the URLs requested since the last call, except those that never leave the browser."""
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("chrome:", "chrome-untrusted:", "about:", "data:", "blob:"))]


@contextmanager
def chromium(profile: Path, *, dark: bool = False, arguments: Sequence[str] = ()) -> Iterator[Chrome]:
    """Run a browser with its own profile and additional arguments, which logs the console and every network event."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, _BROWSERS)))
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        f"--user-data-dir={profile}", *arguments,
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
    """Set the size of the viewport in CSS pixels."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def screenshot(browser: Chrome, path: Path, *, whole: bool = True) -> None:
    """Write a PNG of the whole page or of the viewport."""
    arguments: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", arguments)
    path.write_bytes(base64.b64decode(picture["data"]))
