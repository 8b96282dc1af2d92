// The page of index.html: choose a file, give its inputs, see its outputs.

import {Model, start} from "./model.js";
import {decode, encode, fit, prepareImage, readImage} from "../js/tfbundle_tensors.mjs";

const files = JSON.parse(document.getElementById("models").textContent);
const {wasm} = document.documentElement.dataset;
const SHOWN = 10;
const byId = (id) => document.getElementById(id);
const form = byId("form"), choice = byId("file"), status = byId("status"), problem = byId("problem");

/** Per input, a function that returns its values. */
let readers = {};
let current = null;

/** Create an element with properties and children. */
function element(tag, properties = {}, ...children) {
  const created = Object.assign(document.createElement(tag), properties);
  created.append(...children);
  return created;
}

/** The ImageInput of an input, whose keys are Python's. */
const imageOf = ({image}) => ({...image, channelsFirst: image.channels_first, channelOrder: image.channel_order});

/** Show pixels, RGB or grey. */
function draw({height, width, channels, data}, canvas) {
  canvas.width = width;
  canvas.height = height;
  const shown = new ImageData(width, height);
  for (let pixel = 0; pixel < height * width; ++pixel) {
    for (let channel = 0; channel < 3; ++channel) shown.data[4 * pixel + channel] = data[pixel * channels + Math.min(channel, channels - 1)];
    shown.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(shown, 0, 0);
}

const shapeText = (shape) => `[${shape.join(", ")}]`;
const countOf = (input) => input.shape.reduce((product, size) => product * size, 1);

function numbersField(input, id) {
  const count = countOf(input);
  const field = element("textarea", {id, rows: 3, spellcheck: false, autocomplete: "off"});
  field.value = Array(Math.min(count, 20_000)).fill("0").join(" ");
  readers[input.name] = () => {
    const numbers = field.value.split(/[\s,;]+/).filter(Boolean).map(Number);
    const bad = numbers.length !== count || numbers.some(Number.isNaN);
    field.setAttribute("aria-invalid", bad);
    if (bad) {
      field.focus();
      throw new Error(`${input.name} needs ${count} numbers, separated by spaces or commas; there are ${numbers.length}.`);
    }
    return encode(numbers, input);
  };
  return [field];
}

function imageField(input, id) {
  const field = element("input", {id, type: "file", accept: "image/*"});
  const canvas = element("canvas", {width: input.image.width, height: input.image.height});
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "No image chosen");
  let values = null;
  field.addEventListener("change", async () => {
    values = null;
    if (!field.files.length) return;
    try {
      const pixels = await readImage(field.files[0]);
      values = prepareImage(pixels, imageOf(input), input);
      draw(fit(pixels, imageOf(input)), canvas);
      canvas.setAttribute("aria-label", `${field.files[0].name}, resized for the model`);
      await run();
    } catch (error) {
      show(error);
    }
  });
  readers[input.name] = () => {
    if (!values) {
      field.focus();
      throw new Error(`Choose an image for ${input.name}.`);
    }
    return values;
  };
  return [field, canvas];
}

function inputField(input, index) {
  const id = `input-${index}`;
  const parts = [`${input.dtype} ${shapeText(input.shape)}`, ...(input.remark ? [input.remark] : [])];
  if (input.image) parts.push(input.image.known ? "normalized as in the training" : "pixels are scaled to 0 to 1: the export knows no mean and std");
  const hint = element("p", {id: `${id}-hint`, className: "hint", textContent: parts.join("; ")});
  const fields = input.image ? imageField(input, id) : numbersField(input, id);
  fields[0].setAttribute("aria-describedby", hint.id);
  return element("div", {className: "field"}, element("label", {htmlFor: id, textContent: input.name}), hint, ...fields);
}

/** Load LiteRT.js once, and the chosen file each time. */
let started = null;
async function choose() {
  const file = files[choice.selectedIndex];
  const name = file.file;
  clear();
  byId("run").disabled = true;
  status.textContent = `Loading ${name} …`;
  readers = {};
  byId("inputs").replaceChildren(...file.inputs.map(inputField));
  byId("outputs").replaceChildren();
  try {
    started ??= start(wasm);
    await started;
    const model = await Model.load(new URL(`../${encodeURIComponent(name)}`, import.meta.url));
    const labels = file.labels ? await readLabels(file.labels.file) : [];
    if (files[choice.selectedIndex] !== file) return model.delete();
    current?.model.delete();
    current = {model, file, labels};
    byId("run").disabled = false;
    status.textContent = `${name} is ready.`;
  } catch (error) {
    status.textContent = "";
    show(error);
  }
}

async function readLabels(name) {
  const response = await fetch(new URL(`../${encodeURIComponent(name)}`, import.meta.url));
  if (!response.ok) throw new Error(`${name} cannot be read: ${response.status} ${response.statusText}`);
  return (await response.text()).split("\n").slice(0, -1);
}

async function run() {
  clear();
  try {
    const {model, file, labels} = current;
    const inputs = Object.fromEntries(file.inputs.map((input) => [input.name, readers[input.name]()]));
    const begin = performance.now();
    const outputs = await model.run(inputs);
    const milliseconds = performance.now() - begin;
    byId("outputs").replaceChildren(...file.outputs.map((output) => outputTable(output, outputs[output.name].data, file, labels)));
    status.textContent = `${file.file} answered in ${milliseconds.toPrecision(2)} ms.`;
  } catch (error) {
    show(error);
  }
}

function outputTable(output, data, file, labels) {
  const numbers = Array.from(decode(data, output));
  const named = file.labels?.output === output.name;
  const order = numbers.map((_, index) => index).slice(0, named ? labels.length : SHOWN);
  if (named) order.sort((a, b) => numbers[b] - numbers[a]);
  const rows = order.slice(0, SHOWN).map((index) =>
    element("tr", {}, element("th", {scope: "row", textContent: named ? labels[index] : index}), element("td", {textContent: text(numbers[index])})));
  const more = numbers.length > rows.length ? `, ${rows.length} of ${numbers.length}` : "";
  const caption = `${output.name}: ${output.dtype} ${shapeText(output.shape)}${more}${output.remark ? `; ${output.remark}` : ""}`;
  const head = element("tr", {}, element("th", {scope: "col", textContent: named ? "label" : "index"}), element("th", {scope: "col", textContent: "value"}));
  return element("table", {}, element("caption", {textContent: caption}), element("thead", {}, head), element("tbody", {}, ...rows));
}

const text = (number) => Number.isInteger(number) ? String(number) : String(Number(number.toPrecision(6)));

function clear() {
  problem.textContent = "";
  status.textContent = "";
}

function show(error) {
  problem.textContent = error.message ?? String(error);
}

choice.replaceChildren(...files.map(({file, title}) => element("option", {value: file, textContent: title})));
choice.addEventListener("change", choose);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
byId("start").hidden = true;
form.hidden = false;
choose();
