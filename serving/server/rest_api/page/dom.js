// Create elements. Text is inserted as text, never as markup, as anyone may name models and tensors.

/** Create an element with properties (`aria-…`, `data-…`, `for`, `role`, `scope` and `list` as attributes) and children. */
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

/** A number with its noun in singular or plural. */
function counted(count, singular, plural = `${singular}s`) {
  return `${count} ${count === 1 ? singular : plural}`;
}

/** A control below its label. */
function labelled(text, control) {
  control.id ||= `field-${++fields}`;
  return make("p", {}, make("label", { for: control.id }, text), control);
}

/** A drop-down list of [value, text] pairs. */
function dropDown(pairs) {
  return make("select", {}, ...pairs.map(([value, text]) => make("option", { value }, text)));
}

function fillDropDown(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
  if (pairs.some(([value]) => value === chosen)) select.value = chosen;
}

/** A group of radio buttons for [value, text] pairs. Calls `changed(value)` when one is chosen. */
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
  // The clipboard API exists only on https and localhost; elsewhere the older command works.
  const area = make("textarea", { value: text, className: "hidden" });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("this browser does not allow the page to copy");
}
