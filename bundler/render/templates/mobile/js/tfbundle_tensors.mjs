/**
 * Converts images and numbers to the tensors of a .tflite file, and its outputs to numbers and labels.
 *
 * An ES module without dependencies, for browsers and Node. The libraries for other languages in this export compute the same,
 * bit for bit:
 *
 * 1. Decode to 8-bit RGB; transparency is dropped.
 * 2. One channel is grey: (19595 R + 38470 G + 7471 B + 32768) >> 16.
 * 3. Resize to the input's size. With a crop, the shorter side to `resize` (the longer side is rounded down), or both sides to
 *    [height, width]. The filters are Pillow's: along one axis after the other, with weights of 22 bits, rounded to 8 bits
 *    after each. The width is first, unless the height shrinks by more than twice as many pixels.
 * 4. Crop the center; of an odd number of pixels, the even half is cut off at the top or left.
 * 5. Put the channels in the order RGB or BGR.
 * 6. Normalize: (pixel - mean) / std in double precision, rounded to float32. An input of unquantized uint8 takes the pixels.
 * 7. Lay out as [height, width, channels] or [channels, height, width].
 * 8. Quantize: value / scale in double precision, rounded to the nearest integer, a half to even, plus the zero point, limited
 *    to the range of the dtype. Dequantize: (integer - zero point) * scale in double precision, rounded to float32.
 *
 * @typedef {{name: string, dtype: string, shape: number[], scale: number, zeroPoint: number}} Tensor
 *     An input or output. Quantized integers mean scale * (integer - zeroPoint); a scale of 0 is none.
 * @typedef {{height: number, width: number, channels: number, channelsFirst: boolean, channelOrder: 'rgb' | 'bgr',
 *     resize: number | number[] | null, interpolation: 'nearest' | 'bilinear' | 'bicubic' | 'lanczos', mean: number[],
 *     std: number[]}} ImageInput
 *     How an image becomes an input; mean and std are one number, or one per channel.
 * @typedef {{height: number, width: number, channels: number, data: Uint8Array}} Pixels
 *     8-bit pixels, row by row, with their channels together.
 */

const PRECISION_BITS = 22; // of a filter's weights (Pillow, src/libImaging/Resample.c)

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int16: Int16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};
const LIMITS = {int8: [-128, 127], uint8: [0, 255], int16: [-32768, 32767], int32: [-2147483648, 2147483647]};

/** Returns the typed array over the bytes of a tensor, for example of a file. */
export function arrayOf(bytes, tensor) {
  const copy = bytes.slice(); // aligned at the start of a buffer of its own
  return new ARRAYS[tensor.dtype](copy.buffer, 0, copy.byteLength / ARRAYS[tensor.dtype].BYTES_PER_ELEMENT);
}

/**
 * Returns the pixels of an ImageData, of a canvas: `context.getImageData(0, 0, width, height)`.
 *
 * @return {Pixels}
 */
export function pixelsOf(imageData) {
  const {width, height, data: rgba} = imageData;
  const data = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; i < data.length; i += 3, j += 4) {
    data[i] = rgba[j];
    data[i + 1] = rgba[j + 1];
    data[i + 2] = rgba[j + 2];
  }
  return {height, width, channels: 3, data};
}

/**
 * Decodes an image in a browser: `await readImage(await (await fetch(url)).blob())`.
 *
 * @return {Promise<Pixels>}
 */
export async function readImage(blob) {
  const bitmap = await createImageBitmap(blob, {
    imageOrientation: 'none',
    premultiplyAlpha: 'none',
    colorSpaceConversion: 'none',
  });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
  context.drawImage(bitmap, 0, 0);
  return pixelsOf(context.getImageData(0, 0, bitmap.width, bitmap.height));
}

/**
 * Returns the content of an image input for an RGB image of any size.
 *
 * @param {Pixels} rgb
 * @param {ImageInput} image
 * @param {Tensor} tensor
 */
export function prepareImage(rgb, image, tensor) {
  const cut = fit(rgb, image);
  const raw = tensor.dtype === 'uint8' && !tensor.scale;
  const area = image.height * image.width;
  const {channels} = image;
  const values = new Float32Array(area * channels);
  for (let place = 0; place < area; place++) {
    for (let channel = 0; channel < channels; channel++) {
      const pixel = cut.data[place * channels + (image.channelOrder === 'bgr' ? channels - 1 - channel : channel)];
      const mean = image.mean[image.mean.length === 1 ? 0 : channel];
      const std = image.std[image.std.length === 1 ? 0 : channel];
      const index = image.channelsFirst ? channel * area + place : place * channels + channel;
      values[index] = raw ? pixel : (pixel - mean) / std;
    }
  }
  return encode(values, tensor);
}

/**
 * Returns RGB pixels in the size and number of channels of the input, RGB or grey.
 *
 * @param {Pixels} rgb
 * @param {ImageInput} image
 * @return {Pixels}
 */
export function fit(rgb, image) {
  if (rgb.channels !== 3 || rgb.data.length !== rgb.height * rgb.width * 3 || !rgb.data.length) {
    throw new RangeError('an image has height * width * 3 bytes, RGB');
  }
  let pixels = rgb;
  if (image.channels === 1) {
    const grey = new Uint8Array(rgb.data.length / 3);
    for (let i = 0; i < grey.length; i++) {
      const [r, g, b] = rgb.data.subarray(3 * i, 3 * i + 3);
      grey[i] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
    }
    pixels = {height: rgb.height, width: rgb.width, channels: 1, data: grey};
  }
  const [height, width] = sizeBeforeCrop(rgb, image);
  const resized = resize(pixels, height, width, image.interpolation);
  const [top, left] = [half(height - image.height), half(width - image.width)];
  const stride = image.width * image.channels;
  const data = new Uint8Array(image.height * stride);
  for (let row = 0; row < image.height; row++) {
    const start = ((row + top) * width + left) * image.channels;
    data.set(resized.data.subarray(start, start + stride), row * stride);
  }
  return {height: image.height, width: image.width, channels: image.channels, data};
}

function sizeBeforeCrop({height, width}, image) {
  if (image.resize === null) return [image.height, image.width];
  if (Array.isArray(image.resize)) return image.resize;
  const shorter = Math.min(height, width);
  return [Math.floor((image.resize * height) / shorter), Math.floor((image.resize * width) / shorter)];
}

function half(size) {
  const floor = Math.floor(size / 2);
  return size % 2 ? floor + (floor % 2) : floor;
}

/**
 * Resizes as Pillow does.
 *
 * @param {Pixels} pixels
 * @return {Pixels}
 */
export function resize(pixels, height, width, interpolation) {
  if (interpolation === 'nearest') return resizeToNearest(pixels, height, width);
  if (pixels.height - height > 2 * Math.max(pixels.width - width, 0)) {
    return stretchWidth(stretchHeight(pixels, height, interpolation), width, interpolation);
  }
  return stretchHeight(stretchWidth(pixels, width, interpolation), height, interpolation);
}

function resizeToNearest(pixels, height, width) {
  const {channels} = pixels;
  const [rows, columns] = [nearest(pixels.height, height), nearest(pixels.width, width)];
  const data = new Uint8Array(height * width * channels);
  let place = 0;
  for (const row of rows) {
    for (const column of columns) {
      const start = (row * pixels.width + column) * channels;
      data.set(pixels.data.subarray(start, start + channels), place);
      place += channels;
    }
  }
  return {height, width, channels, data};
}

function nearest(oldSize, newSize) {
  const step = oldSize / newSize;
  const result = [];
  for (let index = 0, place = step * 0.5; index < newSize; index++, place += step) result.push(Math.trunc(place));
  return result;
}

function stretchWidth(pixels, width, interpolation) {
  const {height, channels} = pixels;
  if (pixels.width === width) return pixels;
  const data = stretch(pixels.data, height, pixels.width, width, channels, interpolation);
  return {height, width, channels, data};
}

function stretchHeight(pixels, height, interpolation) {
  const {width, channels} = pixels;
  if (pixels.height === height) return pixels;
  const data = stretch(pixels.data, 1, pixels.height, height, width * channels, interpolation);
  return {height, width, channels, data};
}

/** Resamples one axis: there are `outer` lines of the axis, whose pixels are `inner` bytes. */
function stretch(data, outer, oldSize, newSize, inner, interpolation) {
  const all = weights(oldSize, newSize, interpolation);
  const result = new Uint8Array(outer * newSize * inner);
  for (let line = 0; line < outer; line++) {
    for (let index = 0; index < newSize; index++) {
      const {start, taps} = all[index];
      for (let byte = 0; byte < inner; byte++) {
        let sum = 1 << (PRECISION_BITS - 1);
        for (let tap = 0; tap < taps.length; tap++) sum += taps[tap] * data[(line * oldSize + start + tap) * inner + byte];
        result[(line * newSize + index) * inner + byte] = Math.min(Math.max(sum >> PRECISION_BITS, 0), 255);
      }
    }
  }
  return result;
}

function weights(oldSize, newSize, interpolation) {
  const {weigh, reach} = FILTERS[interpolation];
  const scale = oldSize / newSize;
  const widening = Math.max(scale, 1);
  const support = reach * widening;
  const result = [];
  for (let index = 0; index < newSize; index++) {
    const center = (index + 0.5) * scale;
    const start = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), oldSize);
    const row = [];
    let total = 0;
    for (let source = start; source < end; source++) {
      row.push(weigh((source - center + 0.5) * (1 / widening)));
      total += row[row.length - 1];
    }
    const taps = row.map((weight) => {
      const fixed = (weight / total) * (1 << PRECISION_BITS);
      return Math.trunc(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    });
    result.push({start, taps: Int32Array.from(taps)});
  }
  return result;
}

function bicubic(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

const FILTERS = {
  bilinear: {weigh: (x) => Math.max(1 - Math.abs(x), 0), reach: 1},
  bicubic: {weigh: bicubic, reach: 2},
  lanczos: {weigh: (x) => (-3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0), reach: 3},
};

/**
 * Returns numbers as the tensor takes them: quantized if it is, otherwise converted to its dtype.
 *
 * @param {ArrayLike<number | bigint>} values
 * @param {Tensor} tensor
 */
export function encode(values, tensor) {
  const count = tensor.shape.reduce((product, size) => product * size, 1);
  if (values.length !== count) throw new RangeError(`${tensor.name} has ${count} elements, not ${values.length}`);
  const array = new ARRAYS[tensor.dtype](count);
  const [low, high] = LIMITS[tensor.dtype] ?? [];
  for (let i = 0; i < count; i++) {
    if (tensor.scale) {
      const steps = roundHalfToEven(Number(values[i]) / tensor.scale) + tensor.zeroPoint;
      array[i] = Math.min(Math.max(steps, low), high);
    } else {
      array[i] = tensor.dtype === 'int64' ? BigInt(values[i]) : Number(values[i]);
    }
  }
  return array;
}

function roundHalfToEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * Returns the numbers that an output holds: a Float32Array if it is quantized, otherwise the array as it is.
 *
 * @param {Tensor} tensor
 */
export function decode(array, tensor) {
  if (!tensor.scale) return array;
  return Float32Array.from(array, (integer) => (integer - tensor.zeroPoint) * tensor.scale);
}

/**
 * Returns the labels with the highest scores, the best first; of equal scores, the first label. The first row counts.
 *
 * @return {{label: string, score: number}[]}
 */
export function top(scores, labels, count = 1) {
  return Array.from(labels, (label, index) => ({label, score: Number(scores[index])}))
    .sort((a, b) => b.score - a.score)
    .slice(0, count);
}

/** Returns the lines of a file of labels. */
export function labelsOf(text) {
  return text.replace(/\n$/, '').split('\n');
}
