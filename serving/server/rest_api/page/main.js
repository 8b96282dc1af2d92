// The page: the served models, the choice of a signature, and the call.

const page = { server: { models: [], grpc: null }, states: new Map(), signatures: [], fields: [], sizes: new Map(), wanted: {} };

async function fetchJson(path, options = {}) {
  const [response, text] = await fetched(path, options);
  return { response, text, json: text ? parseJson(text) : new Map() };
}

async function fetched(path, options) {
  try {
    const response = await fetch(path, { cache: "no-store", ...options });
    return [response, await response.text()];
  } catch (error) {
    throw new Error(`The server did not answer (${error.message}). Is it still running?`, { cause: error });
  }
}

/** Wrap `work` so that its errors are shown on the page. */
function attempt(work) {
  return async (...args) => {
    byId("trouble").hidden = true;
    byId("call").setAttribute("aria-busy", "true");
    try {
      await work(...args);
    } catch (error) {
      showTrouble(error.message);
    } finally {
      byId("call").setAttribute("aria-busy", "false");
    }
  };
}

function showTrouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = false;
}

/** Load the list of models again. The form keeps its content if its version is still served. */
async function loadModels() {
  const before = `${byId("model").value} ${byId("version").value}`;
  const { json } = await fetchJson("./", { headers: { Accept: "application/json" } });
  const grpc = json.get("grpc");
  page.server = { models: json.get("models"), grpc: grpc && Object.fromEntries(grpc) };
  for (const model of page.server.models) {
    const name = model.get("name");
    const { response, json: status } = await fetchJson(modelPath(name, ""));
    page.states.set(name, response.ok ? status.get("model_version_status") : []);
  }
  byId("models").replaceChildren(...page.server.models.map(modelRow));
  const names = page.server.models.map((model) => model.get("name"));
  if (!names.length) throw new Error("This server has no models: its config names none.");
  fillDropDown(byId("model"), names.map((name) => [name, name]), byId("model").value || page.wanted.model);
  byId("address").textContent = `REST at ${location.host}${page.server.grpc ? `, gRPC on port ${page.server.grpc.port}${page.server.grpc.tls ? " with TLS" : ""}` : ""}`;
  fillVersions();
  if (!page.signatures.length || before !== `${byId("model").value} ${byId("version").value}`) await showSignatures();
  page.wanted = {};
}

function modelRow(model) {
  const name = model.get("name");
  const button = make("button", { type: "button" }, name);
  button.addEventListener("click", () => {
    byId("model").value = name;
    byId("model").dispatchEvent(new Event("change"));
  });
  const states = page.states.get(name).map((version) => {
    const error = version.get("status").get("error_message");
    const state = make("span", { className: version.get("state") }, version.get("state"));
    return make("span", { className: "state" }, `${version.get("version")} `, state, ...(error ? [make("span", { className: "failure" }, ` ${error}`)] : []));
  });
  const labels = [...model.get("labels")].map(([label, version]) => `${label} → ${version}`).join(", ");
  return make("tr", {}, make("th", { scope: "row" }, button), make("td", { className: "names" }, ...(states.length ? states : ["none yet"])), make("td", {}, labels || "–"));
}

function fillVersions() {
  const name = byId("model").value;
  const model = page.server.models.find((candidate) => candidate.get("name") === name);
  const available = page.states.get(name).filter((version) => version.get("state") === "AVAILABLE").map((version) => String(version.get("version")));
  const choices = [["", "latest"], ...available.map((version) => [`v:${version}`, version]), ...[...model.get("labels").keys()].map((label) => [`l:${label}`, `label ${label}`])];
  fillDropDown(byId("version"), choices, byId("version").value || page.wanted.version);
}

async function showVersions() {
  fillVersions();
  await showSignatures();
}

async function showSignatures() {
  const { response, json } = await fetchJson(modelPath(byId("model").value, byId("version").value, "/metadata"));
  byId("call").hidden = !response.ok;
  if (!response.ok) throw new Error(json.get("error"));
  const definitions = json.get("metadata").get("signature_def").get("signature_def");
  const tensors = (infos) => [...infos].map(([name, info]) => readTensor(name, plain(info))).sort((a, b) => (a.name < b.name ? -1 : 1));
  page.signatures = [...definitions]
    .filter(([name]) => !name.startsWith("__saved_model_"))
    .map(([name, definition]) => ({ name, method: definition.get("method_name"), inputs: tensors(definition.get("inputs")), outputs: tensors(definition.get("outputs")) }))
    .sort((a, b) => (b.name === "serving_default") - (a.name === "serving_default") || (a.name < b.name ? -1 : 1));
  byId("call").hidden = !page.signatures.length;
  if (!page.signatures.length) throw new Error("This version has no signatures.");
  fillDropDown(byId("signature"), page.signatures.map(({ name }) => [name, name]), byId("signature").value || page.wanted.signature);
  showMethods();
}

/** Convert Maps to plain objects, at every depth. */
function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  return value instanceof Map ? Object.fromEntries([...value].map(([key, item]) => [key, plain(item)])) : value;
}

function chosenSignature() {
  return page.signatures.find(({ name }) => name === byId("signature").value);
}

function showMethods() {
  const methods = methodsOf(chosenSignature());
  fillDropDown(byId("method"), methods.map((name) => [name, name]), methods[0]);
  byId("method-row").hidden = methods.length < 2;
  showFields();
}

function showFields() {
  const signature = chosenSignature();
  const isPredict = byId("method").value === "predict";
  byId("form-row").hidden = !isPredict;
  showSizes(isPredict ? signature : { inputs: [] });
  page.fields = isPredict ? signature.inputs.map((tensor) => inputField(tensor, page.sizes)) : [examplesField(page.signatures)];
  const unreadable = isPredict ? signature.inputs.filter((tensor) => tensor.dtype.noJson) : [];
  const notes = unreadable.map((tensor) => make("p", { className: "quiet" }, `${tensor.name}: TensorFlow Serving cannot read ${tensor.dtype.numpy} from JSON; use gRPC.`));
  byId("inputs").replaceChildren(...page.fields.map((field) => field.element), ...notes);
  const rows = [["input", signature.inputs], ["output", signature.outputs]].flatMap(([direction, all]) => all.map((tensor) =>
    make("tr", {}, make("th", { scope: "row" }, tensor.name), ...[direction, tensor.dtype.numpy, dimsText(tensor.dims)].map((text) => make("td", {}, text)))));
  byId("tensors").replaceChildren(...rows);
  location.replace(`#${new URLSearchParams({ model: byId("model").value, version: byId("version").value, signature: signature.name })}`);
  showSnippets();
}

/**
 * Show a field for the size of each dynamic axis of the inputs that are filled in as JSON. Inputs share the sizes, as they
 * share the batch.
 */
function showSizes(signature) {
  const axes = signature.inputs.filter((tensor) => tensor.dtype.kind !== "string").flatMap((tensor) => (tensor.dims || []).flatMap((size, axis) => (size < 0 ? [axis] : [])));
  page.sizes = new Map([...new Set(axes)].sort().map((axis) => [axis, axis ? 8 : 1]));
  const controls = [...page.sizes].map(([axis, size]) => {
    const input = make("input", { type: "number", min: 0, max: 100000, value: size });
    input.addEventListener("change", () => {
      page.sizes.set(axis, Math.max(0, Math.floor(Number(input.value)) || 0));
      page.fields.forEach((field) => field.refill(page.sizes));
      showSnippets();
    });
    return labelled(axis ? `Example axis ${axis}` : "Example rows", input);
  });
  byId("sizes").replaceChildren(...controls);
}

function currentCall() {
  const signature = chosenSignature();
  const call = {
    model: byId("model").value, choice: byId("version").value, signature: signature.name, method: byId("method").value, layout: byId("layout").value,
    texts: new Map(page.fields.map((field) => [field.tensor?.name ?? field.name, field.read()])),
    tensors: new Map(signature.inputs.map((tensor) => [tensor.name, tensor])),
  };
  return { ...call, body: bodyText(call) };
}

const send = attempt(async () => {
  byId("answer").replaceChildren();
  byId("raw-details").hidden = true;
  const call = currentCall();
  byId("send").disabled = true;
  byId("status").textContent = "Waiting for the answer …";
  const started = performance.now();
  try {
    const reply = await fetchJson(modelPath(call.model, call.choice, `:${call.method}`), { method: "POST", headers: { "Content-Type": "application/json" }, body: call.body });
    showAnswer(reply, performance.now() - started);
  } catch (error) {
    byId("status").textContent = "No answer.";
    throw error;
  } finally {
    byId("send").disabled = false;
  }
});

function showAnswer({ response, text, json }, milliseconds) {
  const facts = `${milliseconds.toFixed(1)} ms, HTTP ${response.status}, ${counted(text.length, "character")}`;
  byId("status").replaceChildren(make("span", { className: response.ok ? "success" : "failure" }, response.ok ? "Answered" : "Refused"), ` in ${facts}`);
  const outputs = new Map(chosenSignature().outputs.map((tensor) => [tensor.name, tensor]));
  byId("answer").replaceChildren(...(response.ok ? answerView(json, outputs) : [make("p", { className: "failure" }, String(json.get("error") ?? text))]));
  byId("raw").textContent = shortened(text);
  copies.set("raw", () => text);
  byId("raw-details").hidden = false;
  byId("raw-details").open ||= !response.ok;
}

const SHOWN = 6000;

function shortened(text) {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}\n… ${counted(text.length - SHOWN, "more character")}; Copy includes them` : text;
}

/** Functions that return the text of a copy button, by the button's name. */
const copies = new Map();
let tab = "curl";

function showSnippets() {
  byId("sizes").hidden = !page.fields.some((field) => field.isExample?.());
  let forms;
  try {
    forms = snippets(currentCall(), page.server);
  } catch (error) {
    forms = [["curl", () => `# No call yet: ${error.message}`]];
  }
  if (!forms.some(([title]) => title === tab)) tab = "curl";
  byId("tabs").replaceChildren(...forms.map(([title], index) => {
    const button = make("button", { type: "button", role: "tab", id: `tab-${index}`, "aria-controls": `panel-${index}` }, title);
    button.addEventListener("click", () => selectTab(index));
    return button;
  }));
  byId("panels").replaceChildren(...forms.map(([title, text], index) => {
    copies.set(`snippet-${index}`, text);
    const copy = make("button", { type: "button", className: "copy", "data-copies": `snippet-${index}`, "aria-label": `Copy the ${title} call` }, "Copy");
    const code = make("pre", { tabIndex: 0, "aria-label": title }, make("code"));
    return make("div", { role: "tabpanel", id: `panel-${index}`, "aria-labelledby": `tab-${index}`, className: "code" }, copy, code);
  }));
  selectTab(forms.findIndex(([title]) => title === tab));
}

function selectTab(chosen, focus = false) {
  [...byId("tabs").children].forEach((button, index) => {
    button.setAttribute("aria-selected", String(index === chosen));
    button.tabIndex = index === chosen ? 0 : -1;
    const panel = byId(`panel-${index}`);
    panel.hidden = index !== chosen;
    if (index === chosen) panel.querySelector("code").textContent = shortened(copies.get(`snippet-${index}`)());
    if (index === chosen) tab = button.textContent;
    if (index === chosen && focus) button.focus();
  });
}

function moveTab(event) {
  const count = byId("tabs").children.length;
  const now = [...byId("tabs").children].findIndex((button) => button.getAttribute("aria-selected") === "true");
  const next = { ArrowRight: (now + 1) % count, ArrowLeft: (now + count - 1) % count, Home: 0, End: count - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  selectTab(next, true);
}

const COPIED_FOR_MS = 2000;
let resetTimer;

function resetCopied() {
  clearTimeout(resetTimer); // an earlier copy's timer would remove this one's message too soon
  byId("copied").textContent = "";
  document.querySelectorAll("button.copy").forEach((button) => { button.textContent = "Copy"; });
}

async function copy(event) {
  const button = event.target.closest("button.copy");
  if (!button) return;
  resetCopied();
  try {
    await copyText(copies.get(button.dataset.copies)());
    button.textContent = "Copied";
    byId("copied").textContent = "Copied to the clipboard";
  } catch (error) {
    showTrouble(`Could not copy: ${error.message}`);
  }
  clearTimeout(resetTimer);
  resetTimer = setTimeout(resetCopied, COPIED_FOR_MS);
}

function start() {
  page.wanted = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  byId("refresh").addEventListener("click", attempt(loadModels));
  byId("model").addEventListener("change", attempt(showVersions));
  byId("version").addEventListener("change", attempt(showSignatures));
  byId("signature").addEventListener("change", showMethods);
  byId("method").addEventListener("change", showFields);
  byId("form").addEventListener("change", showSnippets);
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    showSnippets();
    send();
  });
  byId("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
  });
  byId("tabs").addEventListener("keydown", moveTab);
  document.addEventListener("click", copy);
  attempt(loadModels)();
}

start();
