"""report.html: a page with the figures of bundle.json that browsers draw and screen readers can read."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from bundler.values.signature import Signature, TensorSpec
from tests import chromium
from tests.bundler.render.conftest import DIGITS
from tests.bundler.render.report.pages import Page, assert_accessible, make_manifest, page_of, parity, with_manifest
from tests.requirements import require, require_package

REJECTED = {"int16x8": {"reason": "below its gate: accuracy 0.5", "below_gate": True, "layers": [], "mix": ["conv"]}}


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(page_of(with_manifest(make_manifest(), labels={"digits": {"stable": 1}}), tmp_path))


def test_page_has_no_script_and_loads_no_resource(page: Page) -> None:
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert all(target.startswith("#") for target in page.values_of("href"))
    assert page.values_of("src") == []
    policy = next(attrs for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert "default-src 'none'" in str(policy["content"])


def test_report_is_keyboard_and_screen_reader_accessible(page: Page) -> None:
    assert_accessible(page)


def test_parity_is_shown_for_each_output_and_draw(page: Page) -> None:
    for output in ("logits", "embedding"):
        assert ["SavedModel", "serving_default", output, "1", "6e-06", "3e-06", "batch-5", "passed"] in page.rows
    assert ["ONNX Runtime", "serving_default", "example", "logits", "0 (equal)", "0 (equal)", "passed"] in page.rows
    worst = next(
        row for row in page.rows if row[0] == "TFLite int8" and len(row) == 8 and row[2] == "logits"
    )
    assert worst[5:] == ["not comparable", "seq-7", "reported"]
    draw = next(
        row for row in page.rows if row[:4] == ["TFLite int8", "serving_default", "seq-7", "logits"]
    )
    assert draw[4] == "expected shape [2, 10], got [1, 10]"
    assert "Not compared: the sequence lengths of the int8 file are fixed" in page.text


def test_tflite_variants_are_shown_with_their_figures(page: Page) -> None:
    rows = {row[0]: row for row in page.rows if len(row) == 8 and row[0] in ("float16", "int8")}
    assert rows["float16"][1:3] == ["54.7 KiB", "1.25 ms (1), 0.75 ms (2)"]
    assert rows["int8"][1:] == [
        "32.2 KiB", "1.25 ms (1), 0.75 ms (2)", "0.0025", "0.0025", "logits, random", "4", "1",
    ]  # fmt: skip
    assert "int8: calibration: samples 200; source calibration.npz" in page.text
    assert "int8: slow" in page.text


def test_page_shows_accuracy_graph_stages_and_versions(page: Page) -> None:
    assert "450 samples: held-out digits" in page.text
    assert page.bars("450 samples: held-out digits") == ["PyTorch 0.9978", "SavedModel 0.9978", "int8 0.9956"]
    assert ["Data", "PyTorch", "SavedModel"] in page.rows
    assert ["cat | tax", "0.0800", "0.0800"] in page.rows
    assert "49 TensorFlow nodes, 1 transpose" in page.text
    drawn = page.bars("49 TensorFlow nodes, 1 transpose")
    assert (drawn[0], drawn[-1], len(drawn)) == ("Conv2D 20", "4 other operators 7", 13)
    assert ["Op13", "2"] in page.rows and ["Conv2D", "20"] in page.rows
    assert ["Operator", "float16", "int8"] in page.rows and ["CONV_2D", "3", "3"] in page.rows
    assert page.bars("Build stages, 8 s in total") == [
        "Load 0.5 s", "Export 2 s", "Convert 1.25 s", "SavedModel 0.25 s", "TFLite 3 s", "Parity 1 s",
    ]  # fmt: skip
    built = "2026-03-04 05:06 UTC"
    versions = [row for row in page.rows if len(row) == 10 and row[1] == built]
    assert [(row[0], row[2]) for row in versions] == [
        ("3", "yes"),
        ("2", "no"),
        ("1", "yes"),
        ("4", "yes"),
    ]
    assert versions[0][3:9] == ["✓ passed", "3e-06", "accuracy 0.9978", "49", "1", "100 KiB"]
    assert versions[1][5] == "–"


def test_page_shows_signatures_and_how_to_serve(page: Page) -> None:
    assert ["image", "float32", "batch, 1, 8, 8"] in page.rows
    assert ["attention_mask", "int64", "batch, seq"] in page.rows
    captions = re.findall(r"Inputs of (\w+)", page.text)
    assert captions == ["serving_default", "classify", "serving_default"]
    assert 'client.predict("minilm", input_ids=input_ids, attention_mask=attention_mask)' in page.text
    assert "kubectl apply -k k8s/overlays/prod" in page.text
    assert "26,090" in page.text


def test_a_failed_comparison_is_shown_in_words(tmp_path: Path) -> None:
    manifest = make_manifest(parity=parity("logits", wrong=True).to_json())
    page = Page(page_of(with_manifest(manifest), tmp_path))
    assert ["digits", "3", "✗ failed", "0.05", "float16, int8"] in [row[:5] for row in page.rows]
    assert any(row[0] == "SavedModel" and row[-1] == "FAILED" for row in page.rows)


def test_names_from_the_user_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> & 'x'"
    text = page_of(with_manifest(make_manifest(source={"source": evil})), tmp_path)
    assert "<script>" not in text
    assert evil in Page(text).text


@pytest.mark.parametrize("names", [("a b", 'c"'), ("label",), ("class", "x")])
def test_call_from_python_is_valid_for_names_that_are_no_keywords(names: tuple[str, ...], tmp_path: Path) -> None:
    signature = Signature(tuple(TensorSpec(name, "float32", ("batch",)) for name in names), DIGITS.outputs)
    manifest = make_manifest(signatures={"serving_default": signature.to_json()})
    text = Page(page_of(with_manifest(manifest), tmp_path)).text
    line = next(line for line in text.splitlines() if line.startswith('client.predict("digits"'))
    (call,) = ast.parse(line).body
    assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
    given = call.value.args[1]
    assert isinstance(given, ast.Dict) and not call.value.keywords
    assert [ast.literal_eval(key) for key in given.keys if key] == list(names)


@pytest.mark.parametrize(("width", "dark"), [pytest.param(1100, False, marks=pytest.mark.slow), (360, True)])
def test_a_browser_draws_the_page(width: int, dark: bool, tmp_path: Path) -> None:
    """In real Chromium, the style applies under the page's own policy, the bars have their colours, axe-core and the console
    report nothing, and nothing is loaded."""
    require(not chromium.missing(), chromium.missing())
    images = require_package("PIL.Image", "pip install pillow")
    page_of(with_manifest(make_manifest(tflite_refused=REJECTED)), tmp_path)
    shot, address = tmp_path / "shot.png", (tmp_path / "report.html").as_uri()
    with chromium.chromium(tmp_path / "profile", dark=dark) as browser:
        chromium.resize(browser, width, 900, mobile=width < 500)
        chromium.requested(browser)
        browser.get(address)
        browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert chromium.violations(browser) == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert chromium.requested(browser) == [address]
        assert chromium.console(browser) == []
        chromium.screenshot(browser, shot)
    with images.open(shot) as image:
        colours = Counter({colour: count for count, colour in image.convert("RGB").getcolors(1 << 24)})
    light = ((0x1F, 0x7A, 0x4D), (0x3A, 0x6F, 0xB7), (0x7B, 0x84, 0x99))
    night = ((0x5C, 0xC0, 0x8E), (0x7A, 0xA7, 0xE8), (0x8B, 0x95, 0xA9))
    # A bar is 16 pixels high; a few of them have thousands of pixels.
    assert all(colours[colour] > 1000 for colour in (night if dark else light)), colours.most_common(20)
