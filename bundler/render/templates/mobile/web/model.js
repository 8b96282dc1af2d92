// Runs .tflite files with LiteRT.js, and prepares their inputs. index.html's import map tells where LiteRT.js comes from.

import {Tensor, loadAndCompile, loadLiteRt} from "@litertjs/core";

const ARRAYS = {float32: Float32Array, int32: Int32Array, uint8: Uint8Array};
const SIGNATURE = "serving_default";

/** Load LiteRT.js from the folder of its .wasm files. Call it once, before `Model.load`. */
export const start = (wasmFolder) => loadLiteRt(wasmFolder);

/** A .tflite file that is ready to run. */
export class Model {
  /**
   * @param {string|URL} url the file
   * @param {"wasm"|"webgpu"} accelerator
   */
  static async load(url, accelerator = "wasm") {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url} cannot be read: ${response.status} ${response.statusText}`);
    const bytes = new Uint8Array(await response.arrayBuffer());
    return new Model(await loadAndCompile(bytes, {accelerator}));
  }

  constructor(compiled) {
    this.compiled = compiled;
    this.runner = compiled.signatures[SIGNATURE] ?? compiled;
  }

  /**
   * @param {Object<string, TypedArray>} inputs values by name, row-major
   * @return {Promise<Object<string, {data: TypedArray, shape: number[]}>>} the outputs by name
   */
  async run(inputs) {
    const tensors = {};
    for (const {name, dtype, shape} of this.runner.getInputDetails()) {
      const values = inputs[name];
      const count = shape.reduce((product, size) => product * size, 1);
      if (values === undefined) throw new Error(`The input ${name} is missing.`);
      if (!(values instanceof ARRAYS[dtype]) || values.length !== count) {
        throw new Error(`The input ${name} needs ${count} values as ${ARRAYS[dtype].name}.`);
      }
      tensors[name] = new Tensor(values, Array.from(shape));
    }
    const results = await this.runner.run(tensors);
    const outputs = {};
    for (const {name, shape} of this.runner.getOutputDetails()) {
      outputs[name] = {data: results[name].toTypedArray().slice(), shape: Array.from(shape)};
      results[name].delete();
    }
    for (const tensor of Object.values(tensors)) tensor.delete();
    return outputs;
  }

  delete() {
    this.compiled.delete();
  }
}

/** Convert numbers to the values of an input, `{dtype, scale, zeroPoint}`; quantized inputs have a scale. */
export function toInput(numbers, {dtype, scale, zeroPoint}) {
  if (!scale) return ARRAYS[dtype].from(numbers);
  return Uint8Array.from(numbers, (value) => Math.min(255, Math.max(0, roundHalfToEven(value / scale) + zeroPoint)));
}

/** Convert the values of an output to numbers. */
export function toNumbers(values, {scale, zeroPoint}) {
  return scale ? Float32Array.from(values, (value) => scale * (value - zeroPoint)) : values;
}

/**
 * Convert an image to the values of an input.
 * @param {CanvasImageSource} source stretched to the input's size
 * @param {Object} input has dtype, image ({height, width, channels, channelsFirst}), mean and std of pixels of 0 to 255
 * @param {HTMLCanvasElement} canvas shows the resized image
 */
export function imageInput(source, input, canvas) {
  const {height, width, channels, channelsFirst} = input.image;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  const {data} = context.getImageData(0, 0, width, height);
  const values = new Float32Array(height * width * channels);
  const per = (list, channel) => list[list.length === 1 ? 0 : channel];
  for (let pixel = 0; pixel < height * width; ++pixel) {
    const rgb = data.subarray(4 * pixel, 4 * pixel + 3);
    for (let channel = 0; channel < channels; ++channel) {
      const value = channels === 1 ? gray(rgb) : rgb[channel];
      const place = channelsFirst ? channel * height * width + pixel : pixel * channels + channel;
      values[place] = (value - per(input.mean, channel)) / per(input.std, channel);
    }
  }
  return toInput(values, input);
}

/** Return the luma of ITU-R BT.601, as Pillow rounds it. */
const gray = ([red, green, blue]) => (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16;

function roundHalfToEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
