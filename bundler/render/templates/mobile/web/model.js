// Runs .tflite files with LiteRT.js. ../js/tfbundle_tensors.mjs prepares their inputs. index.html's import map tells where LiteRT.js comes from.

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
