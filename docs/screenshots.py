"""`make screenshots`: screenshots of the playground and of report.html with the demo's models, in headless Chromium."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests import chromium

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

DESKTOP, PHONE = 1200, 375
REPORT_HEIGHT = {DESKTOP: 1500, PHONE: 1400}
"""Height of the report's screenshots, which show its first part only."""
SECONDS = 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "bundle", type=Path, nargs="?", default=Path("dist/demo"), help="the demo's bundle, which is built if it does not exist"
    )
    parser.add_argument("out", type=Path, nargs="?", default=Path("docs"), help="folder for the screenshots")
    arguments = parser.parse_args()
    if missing := chromium.missing():
        print(f"make screenshots: the screenshots cannot be taken; missing: {missing}", file=sys.stderr)
        return 1
    from bundler.demo import steps

    if not (arguments.bundle / "bundle.json").is_file():
        steps.build_digits(arguments.bundle)
        steps.build_minilm(arguments.bundle)
    with tempfile.TemporaryDirectory() as folder, steps.served(arguments.bundle) as endpoints:
        digit = _digit(Path(folder))
        for width, name, dark in ((DESKTOP, "", False), (PHONE, "-phone", True)):
            with chromium.chromium(Path(folder, f"profile{name}"), dark=dark) as browser:
                _playground(browser, f"http://{endpoints.rest}/", digit, width)
                _save(browser, arguments.out / f"playground{name}.png")
                chromium.resize(browser, width, REPORT_HEIGHT[width], mobile=width == PHONE)
                browser.get((arguments.bundle.resolve() / "report.html").as_uri())
                _save(browser, arguments.out / f"report{name}.png")
                if messages := chromium.console(browser):
                    print("\n".join(messages), file=sys.stderr)
                    return 1
    return 0


def _playground(browser: Chrome, url: str, digit: Path, width: int) -> None:
    """Upload the digit, send it, and make the viewport as high as the page."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, SECONDS, 0.05)
    chromium.resize(browser, width, 900, mobile=width == PHONE)
    browser.get(f"{url}#model=digits")
    wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, "#inputs input[type=file]"))
    browser.find_element(By.CSS_SELECTOR, "#inputs input[type=file]").send_keys(str(digit))
    wait.until(lambda _: "1 image" in browser.find_element(By.ID, "inputs").text)
    for _ in range(3):  # the first call over a connection is slower than the others
        browser.execute_script("document.getElementById('status').textContent = ''")
        browser.find_element(By.ID, "send").click()
        wait.until(lambda _: browser.find_element(By.ID, "status").text.startswith("Answered"))
    browser.execute_script("document.activeElement.blur()")
    height = browser.execute_script("return document.documentElement.scrollHeight")
    chromium.resize(browser, width, height, mobile=width == PHONE)


def _digit(folder: Path) -> Path:
    """Write a digit of the test set as a PNG in the size of a scan."""
    import numpy as np
    from PIL import Image

    from bundler.demo.digits import digits

    image = Image.fromarray((255 * digits().test_images[0, 0]).astype(np.uint8))
    path = folder / "digit.png"
    image.resize((128, 128), Image.Resampling.NEAREST).save(path)
    return path


def _save(browser: Chrome, path: Path) -> None:
    from PIL import Image

    chromium.screenshot(browser, path, whole=False)
    with Image.open(path) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    raise SystemExit(main())
