// The form: a fieldset per input of the signature, with the ways to fill it in that suit its dtype and shape.

/**
 * The field of an input: {element, read() -> JSON text, refill(sizes)}. `read` throws an Error for a value that cannot be sent.
 * `sizes`: sizes of the dynamic axes, axis -> number.
 */
function inputField(tensor, sizes) {
  const hint = make("p", { className: "quiet", id: `hint-${++fields}` });
  const pane = make("div");
  const ways = waysToFill(tensor, hint);
  let way = ways[0];
  function show(value) {
    way = ways.find((other) => other.value === value);
    pane.replaceChildren(way.element);
    hint.textContent = "";
    way.shown?.();
  }
  for (const each of ways) each.refill?.(sizes);
  const element = make("fieldset", { "aria-describedby": hint.id },
    make("legend", {}, tensor.name, " ", make("span", { className: "quiet" }, `${tensor.dtype.numpy} ${dimsText(tensor.dims)}`)));
  if (ways.length > 1) element.append(choices(`How to fill in ${tensor.name}`, ways.map(({ value, text }) => [value, text]), show));
  element.append(pane, hint);
  show(way.value);
  return { element, tensor, read: () => way.read(), isExample: () => way.value === "json", refill: (changed) => ways.forEach((each) => each.refill?.(changed)) };
}

function waysToFill(tensor, hint) {
  if (tensor.dtype.kind === "string") {
    const ways = [textWay(tensor), fileWay(tensor, hint)];
    if (/image|jpe?g|png|bytes|b64/i.test(tensor.name)) ways.reverse();
    return [...ways, jsonWay(tensor, hint)];
  }
  const layouts = imageLayouts(tensor);
  return [...(layouts.length ? [imageWay(tensor, layouts, hint)] : []), jsonWay(tensor, hint)];
}

/** JSON in a text area. `refill` keeps text that the user has edited. */
function jsonWay(tensor, hint) {
  const area = make("textarea", { spellcheck: false, wrap: "off" });
  let edited = false;
  function check() {
    try {
      const shape = shapeOf(parseJson(area.value));
      const fitting = fits(shape, tensor.dims);
      hint.textContent = `Shape ${dimsText(shape)}${fitting ? "" : `; the signature says ${dimsText(tensor.dims)}`}`;
      area.setAttribute("aria-invalid", String(!fitting));
    } catch (error) {
      hint.textContent = error.message;
      area.setAttribute("aria-invalid", "true");
    }
  }
  area.addEventListener("input", () => {
    edited = true;
    check();
  });
  return {
    value: "json", text: "JSON", element: labelled(`${tensor.name} as JSON`, area), shown: check,
    refill(sizes) {
      if (edited) return;
      area.value = exampleText(tensor, concrete(tensor.dims, sizes));
      area.rows = Math.min(12, area.value.split("\n").length + 1);
      if (area.isConnected) check();
    },
    read() {
      try {
        parseJson(area.value);
      } catch (error) {
        area.focus();
        throw new Error(`${tensor.name}: ${error.message}`);
      }
      return area.value;
    },
  };
}

/** Strings as text: one per line, or all of the text for a scalar. */
function textWay(tensor) {
  const scalar = tensor.dims !== null && tensor.dims.length === 0;
  const area = make("textarea", { rows: 3, value: "A sentence to try." });
  const label = scalar ? `${tensor.name} as text` : `${tensor.name} as text, one string per line`;
  return {
    value: "text", text: "Text", element: labelled(label, area),
    read: () => (scalar ? JSON.stringify(area.value) : stringsText(tensor, area.value.split("\n").map((line) => JSON.stringify(line)))),
  };
}

/** Files, each a string of bytes. */
function fileWay(tensor, hint) {
  const input = make("input", { type: "file", multiple: true });
  let files = [];
  input.addEventListener("change", async () => {
    files = await Promise.all([...input.files].map(async (file) => bytesText(new Uint8Array(await file.arrayBuffer()))));
    hint.textContent = [...input.files].map((file) => `${file.name}, ${file.size} bytes`).join("; ");
  });
  return {
    value: "file", text: "File", element: labelled(`${tensor.name} from files, as b64`, input),
    read() {
      if (!files.length) throw new Error(`${tensor.name}: choose a file`);
      return tensor.dims !== null && !tensor.dims.length ? files[0] : stringsText(tensor, files);
    },
  };
}

/** JSON text of strings along the first axis; further axes have size 1. */
function stringsText(tensor, texts) {
  const further = Math.max(0, (tensor.dims?.length ?? 1) - 1);
  return `[${texts.map((text) => "[".repeat(further) + text + "]".repeat(further)).join(", ")}]`;
}

function bytesText(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 32768) binary += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return `{"b64": "${btoa(binary)}"}`;
}

/** Image files as a tensor of pixels; a grey ramp until one is chosen. */
function imageWay(tensor, layouts, hint) {
  const file = make("input", { type: "file", accept: "image/*", multiple: layouts[0].batch });
  const normalization = dropDown(normalizationsOf(tensor).map((key) => [key, NORMALIZATIONS[key].text]));
  const fit = dropDown([["stretch", "stretch"], ["crop", "crop the middle"], ["pad", "pad"]]);
  const order = dropDown(layouts.map((layout, index) => [String(index), `${layout.order}, ${layout.channels} channels`]));
  const invert = make("input", { type: "checkbox" });
  const width = make("input", { type: "number", min: 1, max: 4096, value: 224 });
  const height = make("input", { type: "number", min: 1, max: 4096, value: 224 });
  const preview = make("canvas", { role: "img" });
  let bitmaps = [];
  let canvases = [];

  function draw() {
    const layout = layouts[Number(order.value)];
    const size = [layout.width, layout.height].map((fixed, i) => (fixed > 0 ? fixed : Math.max(1, Number([width, height][i].value) || 1)));
    canvases = (bitmaps.length ? bitmaps : [null]).map((bitmap) => {
      const canvas = make("canvas", { width: size[0], height: size[1] });
      if (bitmap) drawInto(canvas, bitmap, fit.value);
      else drawRamp(canvas);
      return canvas;
    });
    [preview.width, preview.height] = size;
    preview.getContext("2d").drawImage(canvases[0], 0, 0);
    const source = bitmaps.length ? counted(bitmaps.length, "image") : "No file chosen, sending a grey ramp";
    preview.setAttribute("aria-label", `Preview of ${tensor.name}: ${source}, ${size[0]} by ${size[1]} pixels`);
    hint.textContent = `${source}, ${size[0]}×${size[1]} pixels`;
  }
  async function load() {
    try {
      bitmaps = await Promise.all([...file.files].map((image) => createImageBitmap(image)));
      draw();
    } catch (error) {
      bitmaps = [];
      draw();
      hint.textContent = `This browser cannot read ${file.files[0].name} as an image: ${error.message}`;
    }
  }
  file.addEventListener("change", load);
  for (const control of [fit, order, width, height]) control.addEventListener("change", draw);
  const options = make("div", { className: "row" }, labelled("Values", normalization), labelled("Fit", fit));
  if (layouts.length > 1) options.append(labelled("Axes", order));
  if (layouts.some((layout) => layout.width < 0)) options.append(labelled("Width", width));
  if (layouts.some((layout) => layout.height < 0)) options.append(labelled("Height", height));
  const element = make("div", {}, labelled(`${tensor.name} from image files`, file),
    make("div", { className: "picture" }, preview, make("div", {}, options, make("label", { className: "choice" }, invert, "Invert"))));
  return {
    value: "image", text: "Image", element, shown: draw,
    read: () => imagesText(tensor, layouts[Number(order.value)], canvases, normalization.value, invert.checked),
  };
}
