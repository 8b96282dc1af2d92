// Turn an image file into a tensor of pixels, in the browser.

const NORMALIZATIONS = {
  unit: { text: "0 … 1", scale: 1 / 255, mean: [0, 0, 0], std: [1, 1, 1] },
  signed: { text: "−1 … 1", scale: 1 / 255, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
  imagenet: { text: "ImageNet mean and std", scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  bytes: { text: "0 … 255", scale: 1, mean: [0, 0, 0], std: [1, 1, 1] },
};

/** The normalizations that a tensor's dtype can represent. */
function normalizationsOf(tensor) {
  return tensor.dtype.kind === "float" ? ["unit", "signed", "imagenet", "bytes"] : ["bytes"];
}

/**
 * The possible orders of an image tensor's axes, most likely first: {order, channels, height, width, batch}. A dynamic
 * height or width is -1. Empty for a tensor that is not an image.
 */
function imageLayouts(tensor) {
  const { dims } = tensor;
  const numeric = ["DT_UINT8", "DT_INT16", "DT_INT32", "DT_INT64"].includes(tensor.dtype.proto);
  if (dims === null || dims.length < 3 || dims.length > 4 || !(numeric || tensor.dtype.kind === "float")) return [];
  const batch = dims.length === 4;
  const [a, b, c] = batch ? dims.slice(1) : dims;
  const layouts = [];
  const large = (...sizes) => sizes.every((size) => size < 0 || size >= 4);
  if ([1, 3, 4].includes(a) && large(b, c)) layouts.push({ order: "CHW", channels: a, height: b, width: c, batch });
  if ([1, 3, 4].includes(c) && large(a, b)) layouts.push({ order: "HWC", channels: c, height: a, width: b, batch });
  return layouts;
}

/**
 * Draw a bitmap into a canvas of the tensor's size; `fit`: stretch, crop or pad. It shrinks in steps of a half, so that every
 * pixel counts.
 */
function drawInto(canvas, bitmap, fit) {
  const { width, height } = canvas;
  const ratio = fit === "crop" ? Math.max(width / bitmap.width, height / bitmap.height) : Math.min(width / bitmap.width, height / bitmap.height);
  const target = fit === "stretch" ? [width, height] : [Math.max(1, Math.round(bitmap.width * ratio)), Math.max(1, Math.round(bitmap.height * ratio))];
  let source = bitmap;
  while (source.width > 2 * target[0] || source.height > 2 * target[1]) {
    const half = new OffscreenCanvas(Math.max(target[0], source.width >> 1), Math.max(target[1], source.height >> 1));
    smooth(half).drawImage(source, 0, 0, half.width, half.height);
    source = half;
  }
  const context = smooth(canvas);
  context.clearRect(0, 0, width, height);
  context.drawImage(source, (width - target[0]) / 2, (height - target[1]) / 2, ...target);
}

function smooth(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  return context;
}

/** Draw a grey ramp, which is sent until a file is chosen. */
function drawRamp(canvas) {
  const context = smooth(canvas);
  const image = context.createImageData(canvas.width, canvas.height);
  const count = canvas.width * canvas.height;
  for (let i = 0; i < count; i++) image.data.fill(Math.round((255 * i) / Math.max(1, count - 1)), 4 * i, 4 * i + 3).fill(255, 4 * i + 3, 4 * i + 4);
  context.putImageData(image, 0, 0);
}

/**
 * A function (channel, row, column) -> 0 … 255 that reads a canvas's pixels. Transparent pixels are blended with white unless
 * alpha is a channel.
 */
function pixelsOf(canvas, channels, invert) {
  const { data } = smooth(canvas).getImageData(0, 0, canvas.width, canvas.height);
  const inverted = (value) => (invert ? 255 - value : value);
  return (channel, row, column) => {
    const at = 4 * (row * canvas.width + column);
    const alpha = channels === 4 ? 1 : data[at + 3] / 255;
    const blended = (offset) => inverted(data[at + offset] * alpha + 255 * (1 - alpha));
    if (channels === 4) return channel === 3 ? data[at + 3] : blended(channel);
    return channels === 3 ? blended(channel) : 0.299 * blended(0) + 0.587 * blended(1) + 0.114 * blended(2);
  };
}

/** JSON text of the images in `canvases`, one per row of the batch. */
function imagesText(tensor, layout, canvases, normalization, invert) {
  const { scale, mean, std } = NORMALIZATIONS[normalization];
  const [{ width, height }] = canvases;
  const isFloat = tensor.dtype.kind === "float";
  function text(value, channel) {
    const i = layout.channels === 3 ? channel : 0;
    const normal = channel === 3 ? value * scale : (value * scale - mean[i]) / std[i];
    return isFloat ? String(Number(normal.toPrecision(6))) : String(Math.round(normal));
  }
  const plane = layout.order === "CHW" ? [layout.channels, height, width] : [height, width, layout.channels];
  const rows = canvases.map((canvas) => {
    const pixel = pixelsOf(canvas, layout.channels, invert);
    return nest(plane, (index) => {
      const [channel, row, column] = positionOf(layout, index, width, height);
      return text(pixel(channel, row, column), channel);
    }, layout.batch ? " " : "");
  });
  return layout.batch ? `[${rows.join(",\n ")}]` : rows[0];
}

/** The [channel, row, column] of the element with a flat index. */
function positionOf(layout, index, width, height) {
  if (layout.order === "CHW") return [Math.floor(index / (width * height)), Math.floor(index / width) % height, index % width];
  const pixel = Math.floor(index / layout.channels);
  return [index % layout.channels, Math.floor(pixel / width), pixel % width];
}
