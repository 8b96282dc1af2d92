"""The web page of an export, and LiteRT.js on every kind of exported file, in Chromium."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image as PillowImage

import bundler
from bundler.mobile import ExportOptions, export_mobile
from bundler.mobile.exported import ExportedModel
from bundler.mobile.metadata import Labels
from bundler.mobile.web import DTYPES, HASHES, LITERT_JS, unfit_for_web, web_page
from bundler.tflite.contents import has_variables
from bundler.tflite.runner import TfliteModel
from bundler.validation.bundle import Bundle
from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec
from tests import chromium
from tests.bundler.mobile.models import CLASSES, image_model
from tests.bundler.tflite.lowered import Lowered
from tests.bundler.tflite.test_recurrent import lstm
from tests.litert_js import node_modules, served
from tests.requirements import openssl, require

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

MODELS = Path(__file__).parent / "web_models.py"
RUN = """
const [file, inputs, done] = arguments;
const arrays = {float32: Float32Array, int32: Int32Array, uint8: Uint8Array};
const answer = async ({Model}) => {
  const model = await Model.load(file);
  const typed = inputs.map(([name, dtype, values]) => [name, arrays[dtype].from(values)]);
  const outputs = await model.run(Object.fromEntries(typed));
  model.delete();
  return Object.entries(outputs).map(([name, {data, shape}]) => [name, data.constructor.name, shape, Array.from(data)]);
};
import("/web/model.js").then(answer).then(done, (error) => done(String(error)));
"""
"""Runs a file in the browser and returns its outputs."""


@pytest.fixture(scope="module")
def out(small_bundle: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export of the small bundle, beside which the page finds LiteRT.js."""
    out = tmp_path_factory.mktemp("web") / "out"
    export_mobile(Bundle.open(small_bundle), out, ExportOptions(labels=str(labels)))
    return with_packages(out)


def with_packages(out: Path) -> Path:
    (out / "web" / "node_modules").symlink_to(node_modules())
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    require(not chromium.missing(), chromium.missing())
    with chromium.chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.set_script_timeout(60)
        yield browser


def text_of(browser: Chrome, name: str) -> str:
    return browser.find_element("id", name).text


def wait(browser: Chrome, condition: Callable[[], object]) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 30, 0.05).until(lambda _: condition())


def wait_for(browser: Chrome, status: str) -> None:
    """Wait until the page's status has this text, or the page reports a problem."""
    wait(browser, lambda: status in text_of(browser, "status") or text_of(browser, "problem"))
    assert status in text_of(browser, "status"), text_of(browser, "problem")


def press(browser: Chrome, *keys: str) -> None:
    """Send keys to the focused element."""
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


def table(browser: Chrome) -> dict[str, float]:
    rows = browser.find_elements("css selector", "#outputs tbody tr")
    cells = [row.find_elements("css selector", "th, td") for row in rows]
    return {key.text: float(value.text) for key, value in cells}


def page_errors(browser: Chrome) -> list[str]:
    """Return the console's messages, except LiteRT's log and its report that there is no GPU."""
    known = ("litert_wasm", "No available adapters", "WebGPU device")
    return [message for message in chromium.console(browser) if not any(text in message for text in known)]


def test_page_answers_numbers_by_keyboard(out: Path, browser: Chrome) -> None:
    from selenium.webdriver.common.keys import Keys

    with served(out) as address:
        browser.get(f"{address}web/?local")
        wait_for(browser, "mlp-float32.tflite is ready")
        press(browser, Keys.TAB, Keys.TAB, Keys.CONTROL + "a", "1 2, -3", Keys.TAB, Keys.ENTER)
        assert "x needs 4 numbers" in text_of(browser, "problem")
        assert browser.switch_to.active_element.get_attribute("aria-invalid") == "true"
        press(browser, Keys.CONTROL + Keys.END, " .5", Keys.TAB, Keys.ENTER)
        wait_for(browser, "mlp-float32.tflite answered in")
        got = table(browser)
    want = TfliteModel(out / "mlp-float32.tflite")({"x": np.float32([[1, 2, -3, 0.5]])})["y"][0]
    assert list(got) == [CLASSES[i] for i in np.argsort(-want)]
    np.testing.assert_allclose(list(got.values()), sorted(want, reverse=True), rtol=1e-5)
    assert page_errors(browser) == []


def test_hashes_are_those_of_the_npm_packages() -> None:
    for name, want in HASHES.items():
        package = node_modules() / name
        assert json.loads((package / "package.json").read_text("utf-8"))["version"] == LITERT_JS
        digest = hashlib.sha384((package / "dist" / "index.js").read_bytes()).digest()
        assert want == f"sha384-{base64.b64encode(digest).decode()}"
    source = (node_modules() / "@litertjs/core/dist/index.js").read_text("utf-8")
    assert tuple(re.findall(r'^ {4}dtype: "(\w+)"', source, re.MULTILINE)) == DTYPES


@pytest.mark.slow
def test_files_that_litert_js_cannot_run_are_not_on_the_page(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = image_model("x=float32[1,3,8,6]")
    variant = model.variants[0]
    assert unfit_for_web(variant) == ""
    assert unfit_for_web(replace(variant, operators={"FlexErf": 1})) == "FlexErf needs the Flex delegate"
    monkeypatch.setattr("bundler.converters.native.ops.unrolled.MOST_STEPS", 0)
    files = {False: out / "mlp-float32.tflite", True: Lowered(*lstm(), tmp_path).path}
    assert {has_variables(path): path for path in files.values()} == files
    assert unfit_for_web(replace(variant, has_variables=True)) == "its LSTM operator has variable tensors"
    wide = replace(variant, inputs=(replace(variant.inputs[0], dtype="int64"),))
    assert unfit_for_web(wide) == "x is int64"
    exported = ExportedModel(replace(model, variants=(wide,)), None, {"float16": "m.tflite"}, ())
    assert web_page("m", [exported]) == {}


def test_readme_and_record_name_the_page(out: Path) -> None:
    assert json.loads((out / "export.json").read_text("utf-8"))["web"] == "web/index.html"
    text = (out / "README.md").read_text("utf-8")
    assert f"npm install @litertjs/core@{LITERT_JS}" in text
    assert "LiteRT.js cannot run" not in text


def build(out: Path, name: str, samples: Mapping[str, Array], outputs: str, *variants: str) -> None:
    calibration = out.parent / f"{name}.npz"
    np.savez(calibration, **samples)
    inputs = tuple(f"{key}={a.dtype}[batch,{','.join(map(str, a.shape[1:]))}]" for key, a in samples.items())
    bundler.build(
        f"{MODELS}:{name}", name=name, out=out, inputs=inputs, outputs=tuple(outputs.split()), tflite=variants,
        calibration=str(calibration), min_sqnr=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export of an image, a text and a recurrent model, in every variant."""
    folder, rng = tmp_path_factory.mktemp("kinds"), np.random.default_rng(0)
    bundle = folder / "bundle"
    photo = {"image": rng.random((40, 3, 16, 16), np.float32)}
    build(bundle, "photo", photo, "scores", "float32", "float16", "dynamic", "int8", "int8-io", "int16x8")
    text = {"ids": rng.integers(0, 50, (40, 6)), "mask": rng.random((40, 6)) > 0.3}
    build(bundle, "text", text, "logits label long", "float32", "float16", "dynamic", "int8", "int4")
    build(bundle, "series", {"series": rng.random((40, 5, 4), np.float32)}, "logits", "float32", "dynamic", "int8")
    export_mobile(Bundle.open(bundle), folder / "out")
    return with_packages(folder / "out")


def drawn(model: TfliteModel) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    largest = {"uint8": 256, "int32": 50}
    return {
        spec.name: rng.random(spec.shape, np.float32)
        if spec.dtype == "float32"
        else rng.integers(0, 2 if spec.name == "mask" else largest[spec.dtype], spec.shape).astype(spec.dtype)
        for spec in model.inputs
    }


@pytest.mark.slow
def test_litert_js_answers_as_the_interpreter_in_python(every_kind: Path, browser: Chrome) -> None:
    files = sorted(every_kind.glob("*.tflite"))
    assert len(files) == 14
    with served(every_kind) as address:
        browser.get(f"{address}web/?local")
        wait_for(browser, "is ready")
        for file in files:
            model = TfliteModel(file)
            inputs = drawn(model)
            values = [[name, array.dtype.name, array.ravel().tolist()] for name, array in inputs.items()]
            outputs = browser.execute_async_script(RUN, f"/{file.name}", values)
            assert isinstance(outputs, list), (file.name, outputs)
            want = model(inputs)
            assert {name for name, *_ in outputs} == set(want)
            for name, kind, shape, data in outputs:
                assert (kind.removesuffix("Array").lower(), shape) == (want[name].dtype.name, list(want[name].shape))
                np.testing.assert_allclose(data, want[name].ravel(), rtol=1e-5, atol=1e-6, err_msg=file.name)
    assert page_errors(browser) == []


@pytest.mark.slow
def test_types_of_ids_masks_and_classes_are_portable_and_recorded(every_kind: Path) -> None:
    record = json.loads((every_kind / "export.json").read_text("utf-8"))
    variants = {v["file"]: v for model in record["models"] for v in model["variants"]}
    for name in ("text-float32.tflite", "text-int8.tflite"):
        assert variants[name]["inputs"] == ["ids=int32[1,6]", "mask=uint8[1,6]"]
        assert variants[name]["outputs"] == ["logits=float32[1,3]", "label=int32[1]", "long=uint8[1]"]
        assert variants[name]["model_dtypes"] == {"ids": "int64", "mask": "bool", "label": "int64", "long": "bool"}
    assert variants["photo-int8-io.tflite"]["inputs"] == ["image=uint8[1,3,16,16]"]
    text = (every_kind / "README.md").read_text("utf-8")
    assert "`ids` is int64 in the model." in text
    assert "`mask` is bool in the model: 0 is false, any other value is true." in text
    assert "LiteRT.js cannot run" not in text
    assert "bool in the model" in (every_kind / "swift" / "TextModelSpec.swift").read_text("utf-8")


@pytest.mark.slow
def test_page_answers_an_image_for_a_model_of_bgr_pixels(colors: Path, browser: Chrome, tmp_path: Path) -> None:
    out = with_packages(Path(shutil.copytree(colors, tmp_path / "out")))
    with served(out) as address:
        browser.get(f"{address}web/?local")
        wait_for(browser, "is ready")
        for name in [path.name for path in sorted(out.glob("*.tflite"))] + ["colors-float32.tflite"]:
            choose(browser, name)
            browser.find_element("css selector", "input[type=file]").send_keys(str(out / "golden/colors/image.png"))
            wait_for(browser, f"{name} answered in")
            assert next(iter(table(browser))) == "red", name
        golden = np.fromfile(out / "golden/colors/float32.scores.out.bin", np.float32)
        np.testing.assert_allclose(sorted(table(browser).values()), sorted(golden), rtol=1e-4)
    assert page_errors(browser) == []


def choose(browser: Chrome, file: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("id", "file")).select_by_value(file)
    wait_for(browser, f"{file} is ready")


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_page_answers_an_image_on_a_phone(every_kind: Path, tmp_path: Path, dark: bool) -> None:
    require(not chromium.missing(), chromium.missing())
    pixels = np.random.default_rng(5).integers(0, 256, (16, 16, 3), np.uint8)
    PillowImage.fromarray(pixels).save(tmp_path / "photo.png")
    values = (pixels.astype(np.float32) / 255).transpose(2, 0, 1)[np.newaxis]
    with served(every_kind) as address, chromium.chromium(tmp_path / "profile", dark=dark) as browser:
        chromium.resize(browser, 320, 640, mobile=True)
        browser.get(f"{address}web/?local")
        wait_for(browser, "photo-float32.tflite is ready")
        for file in ("photo-float32.tflite", "photo-int8.tflite", "photo-int8-io.tflite"):
            choose(browser, file)
            browser.find_element("css selector", "input[type=file]").send_keys(str(tmp_path / "photo.png"))
            wait_for(browser, f"{file} answered in")
            want = TfliteModel(every_kind / file).run_in_floats({"image": values})["scores"][0]
            np.testing.assert_allclose(list(table(browser).values()), want, rtol=1e-4, atol=1e-5)
        assert chromium.violations(browser) == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 320
        choose(browser, "text-float32.tflite")
        assert chromium.violations(browser) == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 320
        assert page_errors(browser) == []


def own_certificate(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = [openssl(), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=cdn.jsdelivr.net"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.slow
@pytest.mark.parametrize("changed", [False, True])
def test_page_loads_pinned_packages_from_the_cdn(out: Path, tmp_path: Path, changed: bool) -> None:
    """The browser takes the CDN's host for a local server that has npm's files, one of them changed."""
    require(not chromium.missing(), chromium.missing())
    for name in HASHES:
        copy = shutil.copytree(node_modules() / name, tmp_path / "npm" / f"{name}@{LITERT_JS}")
        with (copy / "dist" / "index.js").open("a", encoding="utf-8") as file:
            file.write("// changed" if changed else "")
    with served(out) as address, served(tmp_path, own_certificate(tmp_path)) as cdn:
        rules = f"--host-resolver-rules=MAP cdn.jsdelivr.net:443 {cdn.removeprefix('https://').rstrip('/')}"
        arguments = (rules, "--ignore-certificate-errors")
        with chromium.chromium(tmp_path / "profile", arguments=arguments) as browser:
            browser.get(f"{address}web/")
            if changed:
                wait(browser, lambda: "integrity" in "".join(chromium.console(browser)))
                assert "LiteRT.js cannot be loaded" in text_of(browser, "start")
                return
            wait_for(browser, "mlp-float32.tflite is ready")
            hosts = {urlsplit(url).netloc for url in chromium.requested(browser)}
            assert hosts == {urlsplit(address).netloc, "cdn.jsdelivr.net"}


def test_names_are_text_on_the_page() -> None:
    evil = "<img src=x onerror=document.title=1></script>'\"`&{{7*7}}${x}"
    model = image_model("x=float32[1,4]")
    variant = replace(model.variants[0], inputs=(TensorSpec(evil, "float32", (1, 4)),))
    exported = ExportedModel(replace(model, variants=(variant,)), Labels("scores", (evil,), evil), {"float16": "m.tflite"}, ())
    page = web_page(evil, [exported])["web/index.html"]
    assert "<img" not in page
    assert page.count("</script>") == 3
    (text,) = re.findall(r'id="models">(.*?)</script>', page)
    (file,) = json.loads(text)
    assert (file["inputs"][0]["name"], file["labels"]["file"]) == (evil, evil)
