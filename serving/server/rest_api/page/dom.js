// Making elements. Text goes in as text, never as markup: names of models and tensors are anyone's.

/** An element with properties (`aria-…`, `data-…`, `for` and `role` as attributes) and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(aria-|data-|for$|role$|scope$|list$)/.test(name)) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

let fields = 0;

/** A control under its label. */
function labelled(text, control) {
  control.id ||= `field-${++fields}`;
  return make("p", {}, make("label", { for: control.id }, text), control);
}

/** A drop-down of [value, text] pairs. */
function dropDown(pairs) {
  return make("select", {}, ...pairs.map(([value, text]) => make("option", { value }, text)));
}

function fillDropDown(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
  if (pairs.some(([value]) => value === chosen)) select.value = chosen;
}

/** Radio buttons of [value, text] pairs in a group; `changed(value)` on a choice. */
function choices(legend, pairs, changed) {
  const name = `choice-${++fields}`;
  const buttons = pairs.map(([value, text], index) => {
    const radio = make("input", { type: "radio", name, value, checked: index === 0 });
    radio.addEventListener("change", () => changed(value));
    return make("label", { className: "choice" }, radio, text);
  });
  return make("div", { role: "radiogroup", "aria-label": legend }, ...buttons);
}

async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Browsers give the clipboard to https and localhost alone; elsewhere the old command does it.
  const area = make("textarea", { value: text, className: "hidden" });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("this browser does not let the page copy");
}
