"""Headless Chromium, driven by selenium: for the tests of pages and for the screenshots in docs/."""

from __future__ import annotations

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
    import base64

    arguments: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", arguments)
    path.write_bytes(base64.b64decode(taken["data"]))
