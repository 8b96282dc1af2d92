// The request that the fields describe: its path and body.

const METHODS = { "tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress" };

/** The methods that a signature supports, the most likely first. */
function methodsOf(signature) {
  const takesExamples = signature.inputs.length === 1 && signature.inputs[0].dtype.kind === "string";
  if (!takesExamples) return ["predict"];
  const declared = METHODS[signature.method];
  const outputs = signature.outputs.map((output) => output.name);
  const classifies = outputs.every((name) => name === "classes" || name === "scores");
  const regresses = outputs.length === 1 && outputs[0] === "outputs";
  const possible = [...(classifies ? ["classify"] : []), ...(regresses ? ["regress"] : [])];
  return [...new Set([...(declared ? [declared] : []), "predict", ...possible])];
}

/**
 * The field for the examples of classify and regress. The metadata does not list their features, so the inputs of a signature
 * without strings are suggested.
 */
function examplesField(signatures) {
  const numeric = signatures.find(({ inputs }) => inputs.length && inputs.every((input) => input.dtype.kind !== "string"));
  const features = (numeric ? numeric.inputs : []).map((input) => {
    const count = concrete((input.dims || []).slice(1), new Map()).reduce((product, size) => product * size, 1);
    return `${JSON.stringify(input.name)}: ${exampleText(input, count === 1 ? [] : [count])}`;
  });
  const area = make("textarea", { rows: 5, spellcheck: false, value: `[{${features.join(", ") || '"feature": 1.0'}}]` });
  const hint = make("p", { className: "quiet" }, "One object per example: feature → value or list. Write floats with a decimal point.");
  const element = make("fieldset", {}, make("legend", {}, "examples"), labelled("examples as JSON", area), hint);
  return {
    element, name: "examples",
    read() {
      const value = parseJson(area.value);
      if (!Array.isArray(value) || !value.every((example) => example instanceof Map)) throw new Error("examples: expected a list of objects");
      return area.value;
    },
  };
}

/** The body's text. It contains the fields' own text, except for rows, so that numbers are sent as they were written. */
function bodyText(call) {
  const head = call.signature === "serving_default" ? "" : `"signature_name": ${JSON.stringify(call.signature)}, `;
  if (call.method !== "predict") return `{${head}"examples": ${call.texts.get("examples")}}`;
  if (call.layout === "row") return `{${head}"instances": ${rowsText(call.texts)}}`;
  const parts = [...call.texts].map(([name, text]) => `${JSON.stringify(name)}: ${text}`);
  return `{${head}"inputs": {${parts.join(", ")}}}`;
}

function rowsText(texts) {
  if (texts.size === 1) {
    const [[name, text]] = texts;
    return Array.isArray(parseJson(text)) ? text : notRows(name);
  }
  const columns = [...texts].map(([name, text]) => {
    const value = parseJson(text);
    return [name, Array.isArray(value) ? value : notRows(name)];
  });
  const lengths = new Set(columns.map(([, value]) => value.length));
  if (lengths.size > 1) throw new Error("with instances, all inputs must have the same number of rows; send them as inputs");
  const rows = columns[0][1].map((_, row) => new Map(columns.map(([name, value]) => [name, value[row]])));
  return formatJson(rows);
}

function notRows(name) {
  throw new Error(`${name} is a scalar and has no rows; send it as inputs`);
}

/** The path of a model, relative to the page. `choice` is "" for the latest, "v:3" for a version, "l:stable" for a label. */
function modelPath(model, choice, rest = "") {
  const kinds = { v: "versions", l: "labels" };
  const part = choice ? `/${kinds[choice[0]]}/${encodeURIComponent(choice.slice(2))}` : "";
  return `v1/models/${encodeURIComponent(model)}${part}${rest}`;
}
