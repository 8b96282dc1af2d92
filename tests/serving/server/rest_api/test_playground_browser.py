"""The playground in headless Chromium: fill in forms, read answers, and run the calls that the page shows."""

from __future__ import annotations

import ast
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from serving.protocol.messages import PREDICTION_SERVICE, message, pool, serving_message
from serving.server import Server
from tests import chromium, requirements
from tests.serving.server.recordings import MODELS
from tests.serving.server.rest_api.pictures import save_pictures

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

if find_spec("selenium") is None:
    requirements.require(False, "selenium (pip install selenium)")

from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

EVIL = "<img src=x onerror=document.title=1>'\"&/:%2F {{7*7}}"
HIDDEN = f"{EVIL}\x85\u202e\u2028"
SECONDS = 20


def save_odd_names(folder: Path) -> None:
    """Copy a model; its signature `two`, its tensors and its half-precision input get names that break formats."""
    shutil.copytree(MODELS / "rows" / "1", folder)
    file = folder / "saved_model.pb"
    saved = message("tensorflow.SavedModel").FromString(file.read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    for name, renamed in (("two", HIDDEN), ("half", "# \nhalf"), ("single", "serving_default")):
        before, after = signatures[name], signatures[renamed]
        after.CopyFrom(before)
        for side in ("inputs", "outputs") if name != "single" else ():
            getattr(after, side).clear()
            for key, info in getattr(before, side).items():
                getattr(after, side)[f"{key} {renamed}"].CopyFrom(info)
    file.write_bytes(saved.SerializeToString())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("playground")
    save_pictures(folder / "pictures" / "1")
    save_odd_names(folder / "odd" / "1")
    models = {"pictures": folder / "pictures", EVIL: MODELS / "nodefault", "odd": folder / "odd"}
    models |= {name: MODELS / name for name in ("rows", "strs", "types", "clsreg")}
    config = serving_message("ModelServerConfig")()
    for name, path in models.items():
        entry = config.model_config_list.config.add(name=name, base_path=str(path), model_platform="tensorflow")
        if name == "rows":
            entry.model_version_policy.all.SetInParent()
            entry.version_labels["stable"] = 1
    file = folder / "models.config"
    file.write_text(str(config))
    with Server(file) as running:
        yield running


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    requirements.require(not chromium.missing(), chromium.missing())
    with chromium.chromium(tmp_path_factory.mktemp("profile")) as browser:
        chromium.resize(browser, 1200, 900)
        yield browser


class Playground:
    """The page, used as a person uses it."""

    def __init__(self, browser: Chrome, origin: str) -> None:
        self.browser = browser
        self.origin = origin

    def open(self, fragment: str = "") -> None:
        self.browser.get("about:blank")
        self.browser.get(f"{self.origin}/{fragment}")
        self.wait(lambda: self.get("#call").is_displayed())

    def get(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def field(self, label: str) -> WebElement:
        """Return the control with a label."""
        labels = [element for element in self.all("label") if element.text.strip() == label and element.is_displayed()]
        assert len(labels) == 1, f"{label}: {len(labels)} labels"
        target = labels[0].get_attribute("for")
        return self.get(f"[id='{target}']") if target else labels[0].find_element(By.TAG_NAME, "input")

    def choose(self, label: str, text: str) -> None:
        Select(self.field(label)).select_by_visible_text(text)
        self.wait(lambda: self.get("#call").get_attribute("aria-busy") == "false")

    def model(self, name: str, signature: str = "") -> None:
        self.choose("Model", name)
        if signature:
            self.choose("Signature", signature)

    def fill(self, label: str, text: str) -> None:
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.browser.execute_script(script, self.field(label), text)  # send_keys does not support every character

    def send(self) -> str:
        """Send the call and return the status line."""
        self.browser.execute_script("document.getElementById('status').textContent = ''")
        self.get("#send").click()
        self.wait(lambda: self.get("#call").get_attribute("aria-busy") == "false")
        assert not self.get("#trouble").is_displayed(), self.get("#trouble").text
        return self.get("#status").text

    def reply(self) -> Any:
        return json.loads(self.text("#raw"))

    def text(self, selector: str) -> str:
        return str(self.get(selector).get_property("textContent"))

    def tab(self, title: str) -> None:
        next(tab for tab in self.all("[role=tab]") if tab.text == title).click()

    def copied(self, title: str) -> str:
        """Return the call of a tab through its copy button and the clipboard."""
        self.tab(title)
        self.get(f"[aria-label='Copy the {title} call']").click()
        self.wait(lambda: self.text("#copied") == "Copied to the clipboard")
        return str(self.browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])"))

    def wait(self, condition: Any) -> None:
        WebDriverWait(self.browser, SECONDS, 0.05).until(lambda _: condition())


@pytest.fixture
def page(session: Chrome, server: Server) -> Iterator[Playground]:
    origin = f"http://127.0.0.1:{server.rest_port}"
    permissions = {"origin": origin, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    session.execute_cdp_cmd("Browser.grantPermissions", permissions)
    playground = Playground(session, origin)
    playground.open()
    yield playground
    assert chromium.console(session) == []
    assert [url for url in chromium.requested(session) if not url.startswith(f"{origin}/")] == []


def picture(path: Path, value: int, size: tuple[int, int] = (32, 20)) -> Path:
    images = requirements.require_package("PIL.Image", "pip install pillow")
    images.new("RGB", size, (value, value, value)).save(path)
    return path


def run(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_models_versions_states_and_labels_are_listed(page: Playground) -> None:
    rows = {row.find_element(By.TAG_NAME, "th").text: row.text for row in page.all("#models tr")}
    assert set(rows) == {"pictures", EVIL, "odd", "rows", "strs", "types", "clsreg"}
    assert "2 AVAILABLE" in rows["rows"] and "1 AVAILABLE" in rows["rows"] and "stable → 1" in rows["rows"]


@pytest.mark.slow
def test_image_is_resized_and_sent_and_its_classes_are_shown(page: Playground, tmp_path: Path) -> None:
    page.model("pictures", "serving_default")
    page.field("image from image files").send_keys(str(picture(tmp_path / "bright.png", 250)))
    page.wait(lambda: "1 image, 8×8 pixels" in page.get("#inputs").text)
    assert page.send().startswith("Answered in ")
    assert "HTTP 200" in page.get("#status").text
    bars = [item.text.split("\n") for item in page.all("#answer .bars li")]
    assert bars[0][0] == "class 2" and float(bars[0][1].split()[0]) > 99
    assert "Softmax of the answer" in page.get("#answer").text
    page.field("Invert").click()
    page.send()
    assert page.all("#answer .bars li")[0].text.startswith("class 0")
    page.field("Invert").click()
    page.choose("Values", "−1 … 1")
    page.send()
    sent = json.loads(shlex.split(page.text("#panel-0 code"))[-1])
    assert np.shape(sent["inputs"]["image"]) == (1, 1, 8, 8)
    assert np.allclose(sent["inputs"]["image"], 250 / 127.5 - 1, atol=1e-5)


@pytest.mark.slow
def test_several_images_of_dynamic_size_are_sent_at_once(page: Playground, tmp_path: Path) -> None:
    page.model("pictures", "colour")
    files = [picture(tmp_path / "a.png", 0), picture(tmp_path / "b.png", 255)]
    page.browser.execute_script("arguments[0].value = 6", page.field("Width"))
    page.browser.execute_script("arguments[0].value = 5", page.field("Height"))
    page.field("picture from image files").send_keys("\n".join(map(str, files)))
    page.wait(lambda: "2 images, 6×5 pixels" in page.get("#inputs").text)
    page.choose("Values", "ImageNet mean and std")
    assert page.send().startswith("Answered")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    assert np.allclose(page.reply()["outputs"], [-mean / std, (1 - mean) / std], atol=1e-4)


def test_file_is_sent_as_b64(page: Playground, tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png", 9)
    page.model("pictures", "file")
    page.field("image_bytes from files, as b64").send_keys(str(file))
    page.wait(lambda: "a.png" in page.get("#inputs").text)
    page.send()
    assert page.reply() == {"outputs": [file.stat().st_size]}


def test_text_is_sent_as_strings(page: Playground) -> None:
    page.model("strs", "serving_default")
    page.fill("s as text, one string per line", 'Grüße\nit\'s "so" \\ 🙂')
    page.send()
    assert page.reply()["outputs"]["echo"] == ["Grüße", 'it\'s "so" \\ 🙂']
    assert 'it\'s "so" \\ 🙂' in page.get("#answer").text


@pytest.mark.slow
def test_json_is_prefilled_and_checked_while_typing(page: Playground) -> None:
    page.model("rows", "serving_default")
    first = page.field("Example rows")
    first.clear()
    first.send_keys("3", Keys.TAB)
    page.wait(lambda: "Shape [3, 4]" in page.get("#inputs").text)
    assert page.send().startswith("Answered")
    area = page.get("fieldset textarea")
    area.clear()
    area.send_keys("[[1, 2, 3]]")
    assert "the signature says [?, 4]" in page.get("#inputs").text
    area.clear()
    area.send_keys("[[1, 2, 3,")
    assert "The JSON is not complete in line 1" in page.get("#inputs").text
    page.get("#send").click()
    page.wait(lambda: page.get("#trouble").is_displayed())
    assert "The JSON is not complete" in page.get("#trouble").text


@pytest.mark.slow
def test_64_bit_integers_and_non_finite_floats_are_exact(page: Playground) -> None:
    page.model("types", "one_i64")
    page.fill("i64 as JSON", "[9007199254740993, -9223372036854775808]")
    page.send()
    assert page.reply()["outputs"] == [9007199254740993, -9223372036854775808]
    assert "9007199254740993" in page.get("#answer").text
    assert "9007199254740993" in page.copied("Python")
    page.choose("Signature", "one_f")
    page.fill("f as JSON", "[NaN, -Infinity, 1.5]")
    page.choose("Body", "instances")
    page.send()
    assert "[NaN, -Infinity, 1.5]" in page.get("#answer").text


def test_classify_and_regress_take_examples(page: Playground) -> None:
    page.model("clsreg", "serving_default")
    assert page.get("#method").get_property("value") == "classify"
    page.fill("examples as JSON", '[{"x": [1.0, 2.0]}]')
    assert page.send().startswith("Answered")
    assert len(page.all("#answer .bars li")) == 3
    page.choose("Signature", "regress")
    page.fill("examples as JSON", '[{"x": [1.0, 2.0]}]')
    page.send()
    assert len(page.reply()["results"]) == 1
    answer = grpc_answer(page, "Regress", "RegressionRequest", "RegressionResponse")
    assert np.allclose(answer.result.regressions[0].value, page.reply()["results"])
    assert np.allclose(json.loads(run([sys.executable, "-c", page.copied("Python")])), page.reply()["results"])


@pytest.mark.slow
@pytest.mark.slow
def test_python_classify_and_regress_calls_give_the_same_answer(page: Playground) -> None:
    page.model("clsreg", "serving_default")
    page.fill("examples as JSON", '[{"x": [1.0, 2.0], "note": "it\'s \\"q\\""}, {"x": [-0.5, 3e0]}]')
    page.send()
    want = page.reply()["results"]
    printed = ast.literal_eval(run([sys.executable, "-c", page.copied("Python")]))
    assert [[label for label, _ in row] for row in printed] == [[label for label, _ in row] for row in want]
    assert np.allclose([[score for _, score in row] for row in printed], [[score for _, score in row] for row in want])
    printed = run([sys.executable, "-c", page.copied("Python, plain gRPC")])
    assert printed.count("classifications {") == 2
    page.choose("Signature", "regress")
    page.fill("examples as JSON", '[{"x": [NaN, 2.0]}]')
    page.send()
    assert run([sys.executable, "-c", page.copied("Python")]).strip() == "[nan]"
    assert "value: nan" in run([sys.executable, "-c", page.copied("Python, plain gRPC")])


@pytest.mark.slow
def test_refusal_shows_the_servers_error(page: Playground) -> None:
    page.model("rows", "half")
    assert "cannot read float16 from JSON" in page.get("#inputs").text
    assert "HTTP 501" in page.send()
    assert page.get("#answer").text == page.reply()["error"]


def grpc_answer(page: Playground, method: str, request: str, response: str) -> Any:
    """Make the grpcurl command's call: its data, parsed as grpcurl does, to its address and method."""
    words = shlex.split(page.copied("grpcurl").replace("\\\n", ""))
    assert words[:3] == ["grpcurl", "-plaintext", "-d"]
    assert words[-1] == f"{PREDICTION_SERVICE}/{method}"
    message = json_format.Parse(words[3], serving_message(request)(), descriptor_pool=pool())
    with grpc.insecure_channel(words[-2]) as channel:
        call = channel.unary_unary(f"/{words[-1]}", response_deserializer=serving_message(response).FromString)
        return call(message.SerializeToString(), timeout=20)


def answer_of_version_1(page: Playground) -> Any:
    page.model("pictures", "serving_default")
    page.choose("Version", "1")
    page.send()
    return page.reply()["outputs"]


def test_curl_and_grpcurl_calls_give_the_same_answer(page: Playground) -> None:
    want = answer_of_version_1(page)
    answer = grpc_answer(page, "Predict", "PredictRequest", "PredictResponse")
    assert np.allclose(answer.outputs["logits"].float_val, np.ravel(want), rtol=1e-6)
    requirements.curl()
    assert json.loads(run(["bash", "-c", page.copied("curl")]))["outputs"] == want


@pytest.mark.slow
def test_python_calls_give_the_same_answer(page: Playground) -> None:
    """Both programs run in their own processes; the one with plain gRPC imports TensorFlow."""
    want = answer_of_version_1(page)
    printed = run([sys.executable, "-c", _printing(page.copied("Python"), "['logits'].tolist()")])
    assert np.allclose(json.loads(printed), want, rtol=1e-6)
    plain = page.copied("Python, plain gRPC")
    printed = _printing(plain, ".outputs['logits'].float_val[:]")
    assert np.allclose(json.loads(run([sys.executable, "-c", printed])), np.ravel(want), rtol=1e-6)


@pytest.mark.slow
def test_calls_with_every_dtype_and_awkward_strings_give_the_same_answer(page: Playground) -> None:
    page.model("types", "serving_default")
    page.fill("s as text, one string per line", 'it\'s $HOME `x` \\ "q" ü')
    assert page.send().startswith("Answered"), page.reply()
    want = page.reply()["outputs"]
    assert want["s_o"] == ['it\'s $HOME `x` \\ "q" ü']
    assert json.loads(run(["bash", "-c", page.copied("curl")]))["outputs"] == want
    printed = run([sys.executable, "-c", _printing(page.copied("Python"), "['s_o'][0].hex()")])
    assert bytes.fromhex(printed).decode() == want["s_o"][0]
    answer = grpc_answer(page, "Predict", "PredictRequest", "PredictResponse")
    assert answer.outputs["s_o"].string_val[0].decode() == want["s_o"][0]


def _printing(program: str, part: str) -> str:
    """Return the page's program changed to print a part of the answer."""
    head, call = program.rsplit("print(", 1)
    return f"{head}print({call[:-1]}{part})"


def test_calls_name_the_chosen_version_or_label(page: Playground) -> None:
    page.model("rows", "single")
    answers = {}
    for version in ("latest", "1", "label stable"):
        page.choose("Version", version)
        page.fill("x as JSON", "[[1, 2, 3, 4]]")
        page.send()
        answers[version] = page.reply()
        answer = grpc_answer(page, "Predict", "PredictRequest", "PredictResponse")
        assert answer.model_spec.version.value == (2 if version == "latest" else 1)
    assert answers["1"] == answers["label stable"] != answers["latest"]


TIMERS = """
window.timers = [];
const later = window.setTimeout;
window.setTimeout = (call, ms) => ms === 2000 ? -timers.push(call) : later(call, ms); // the driver has timers too
window.clearTimeout = (number) => { if (number < 0) timers[-number - 1] = () => {}; };
"""


@pytest.mark.slow
def test_copied_message_is_shown_for_its_full_time(page: Playground) -> None:
    page.model("rows", "single")
    page.browser.execute_script(TIMERS)
    page.copied("curl")
    page.copied("grpcurl")
    page.browser.execute_script("timers[0]()")
    assert page.text("#copied") == "Copied to the clipboard"
    page.browser.execute_script("timers.at(-1)()")
    assert page.text("#copied") == ""
    assert {button.text for button in page.all("button.copy") if button.is_displayed()} == {"Copy"}


def test_names_are_never_interpreted_as_markup(page: Playground) -> None:
    page.model(EVIL)
    assert page.get("#signature").get_property("value") == "other"
    assert page.send().startswith("Answered")
    assert json.loads(run(["bash", "-c", page.copied("curl")])) == page.reply()
    assert page.all("main img") == []
    assert page.browser.title == "Models served here"


@pytest.mark.slow
def test_names_of_tensors_and_signatures_are_never_interpreted(page: Playground) -> None:
    page.model("odd")
    signature = Select(page.get("#signature"))
    signature.select_by_index(next(i for i, option in enumerate(signature.options) if EVIL in option.text))
    page.wait(lambda: page.get("#call").get_attribute("aria-busy") == "false")
    assert page.send().startswith("Answered"), page.text("#raw")
    names = {f"a {HIDDEN}", f"b {HIDDEN}"}
    body = json.loads(shlex.split(page.copied("curl").replace("\\\n", ""))[-1])
    assert body["signature_name"] == HIDDEN
    assert set(body.get("inputs") or body["instances"][0]) == names
    for title in ("Python", "Python, plain gRPC"):
        code = page.copied(title)
        assert "\u202e" not in code and "\x85" not in code
        texts = {node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}
        assert {HIDDEN, *names} <= texts
    assert set(grpc_answer(page, "Predict", "PredictRequest", "PredictResponse").outputs) == {f"c {HIDDEN}", f"d {HIDDEN}"}
    assert page.all("main img") == []
    assert page.browser.title == "Models served here"


@pytest.mark.slow
def test_name_with_a_line_feed_stays_in_the_comment_of_a_call(page: Playground) -> None:
    page.model("odd")
    signature = Select(page.get("#signature"))
    texts = [option.text for option in signature.options]
    signature.select_by_index(next(i for i, text in enumerate(texts) if text.startswith("#") and "half" in text))
    page.wait(lambda: page.get("#call").get_attribute("aria-busy") == "false")
    page.tab("grpcurl")
    assert page.copied("grpcurl").splitlines() == ['# "h # \\nhalf" is float16, which has no readable JSON form; use Python.']


@pytest.mark.slow
def test_every_signature_of_every_dtype_can_be_sent(page: Playground) -> None:
    """Send the prefilled examples; the real server refuses the same ones."""
    refused = set()
    for model in ("rows", "types", "strs"):
        page.model(model)
        for name in [option.text for option in Select(page.get("#signature")).options]:
            page.choose("Signature", name)
            for text in page.all("#inputs input[value=text]"):
                text.click()
            if page.send().startswith("Refused"):
                refused.add(name)
    assert refused <= {
        "bf16",
        "half",
        "cplx",
        "cplxout",
        "cplxout2",
        "err",
        "halfout",
        "logs",
        "badbatch_out",
        "u16out",
        "one_u16",
        "alltypes",
    }, refused


def test_playground_is_keyboard_accessible(page: Playground) -> None:
    page.model("rows", "serving_default")
    page.get("fieldset textarea").click()
    page.browser.execute_script("document.getElementById('status').textContent = ''")
    ActionChains(page.browser).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    page.wait(lambda: page.get("#status").text.startswith("Answered"))
    page.tab("curl")
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.browser.switch_to.active_element.text == "Python"
    assert page.get("#panel-1").is_displayed() and not page.get("#panel-0").is_displayed()


@pytest.mark.sample(2)
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_page_is_accessible_and_fits_the_viewport(page: Playground, scheme: str, width: int) -> None:
    browser = page.browser
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    chromium.resize(browser, width, 900, mobile=width < 500)
    try:
        for model, signature in (
            ("pictures", "serving_default"),
            ("strs", "serving_default"),
            ("rows", "half"),
            ("clsreg", "regress"),
        ):
            page.model(model, signature)
            page.send()
            assert chromium.violations(browser) == []
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        chromium.resize(browser, 1200, 900)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("name", "row", "shown"),
    [
        ("anything", [0.25, 0.75], [0.25, 0.75]),
        ("scores", [0.7, 0.2], [0.7, 0.2]),
        ("logits", [0.0, np.log(3)], [0.25, 0.75]),
        ("embedding", [0.1, 0.3], None),
        ("logits", ["NaN", 1], None),
    ],
)
def test_shares_and_logits_are_shown_as_classes(page: Playground, name: str, row: list[Any], shown: list[float] | None) -> None:
    classes = page.browser.execute_script("return classesOf(arguments[0], arguments[1].map(Number))", name, row)
    assert classes is None if shown is None else np.allclose(classes["row"], shown)


@pytest.mark.slow
def test_classes_are_named_by_the_output_classes(page: Playground) -> None:
    reply = '{"outputs": {"classes": [["cat", "dog"]], "scores": [[0.2, 0.7]]}}'
    script = """
        const outputs = new Map([["classes", {}], ["scores", {}]]);
        document.getElementById("answer").replaceChildren(...answerView(parseJson(arguments[0]), outputs));
    """
    page.browser.execute_script(script, reply)
    assert [item.text.split("\n") for item in page.all("#answer .bars li")] == [["dog", "70.0 %"], ["cat", "20.0 %"]]


@pytest.mark.slow
def test_refresh_keeps_the_forms_content(page: Playground) -> None:
    page.model("rows", "single")
    page.fill("x as JSON", "[[5, 6, 7, 8]]")
    page.get("#refresh").click()
    page.wait(lambda: page.get("#call").get_attribute("aria-busy") == "false")
    assert page.field("x as JSON").get_property("value") == "[[5, 6, 7, 8]]"
    assert page.get("#signature").get_property("value") == "single"


def test_calls_depend_on_the_servers_grpc_port_and_tls(page: Playground) -> None:
    """With TLS, the calls use it; without a gRPC port, there is only curl."""
    page.model("rows", "single")

    def shown(grpc_side: str) -> dict[str, str]:
        script = "return snippets(currentCall(), {grpc: %s}).map(([title, text]) => [title, text()])"
        return dict(page.browser.execute_script(script % grpc_side))

    assert list(shown("null")) == ["curl"]
    secure = shown("{port: 7, tls: true}")
    assert 'Client("grpcs://127.0.0.1:7")' in secure["Python"]
    assert "grpc.ssl_channel_credentials()" in secure["Python, plain gRPC"]
    assert "-plaintext" not in secure["grpcurl"]


@pytest.mark.slow
def test_large_call_reads_standard_input(page: Playground) -> None:
    page.model("pictures", "colour")
    page.send()
    command = page.copied("curl")
    assert "--data-binary @- <<'JSON'" in command and len(command) > 500_000
    assert "more characters; Copy includes them" in page.text("#panel-0 code")
    assert json.loads(run(["bash"], input=command)) == page.reply()


@pytest.mark.slow
def test_link_selects_model_version_and_signature(page: Playground) -> None:
    page.open("#model=types&version=v%3A1&signature=one_b")
    assert page.get("#model").get_property("value") == "types"
    assert page.get("#signature").get_property("value") == "one_b"
    assert page.get("#version").get_property("value") == "v:1"


def test_stopped_server_is_reported(session: Chrome) -> None:
    with Server(MODELS / "nodefault") as running:
        page = Playground(session, f"http://127.0.0.1:{running.rest_port}")
        page.open()
    page.get("#send").click()
    page.wait(lambda: page.get("#trouble").is_displayed())
    assert "Is it still running?" in page.get("#trouble").text
    session.get_log("browser"), session.get_log("performance")
