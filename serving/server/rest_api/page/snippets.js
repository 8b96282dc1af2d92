// The call as a command and as a program. `call`: {model, choice, signature, method, layout, texts, tensors, body}.

/** The forms of a call as pairs [title, function that returns the text]. `server`: {grpc: {port, tls} or null}. */
function snippets(call, server) {
  const forms = [["curl", () => curl(call)]];
  if (!server.grpc) return forms;
  const host = location.hostname;
  const target = { address: `${host}:${server.grpc.port}`, tls: server.grpc.tls };
  forms.push(["Python", () => pythonClient(call, target)], ["Python, plain gRPC", () => pythonGrpc(call, target)]);
  return [...forms, ["grpcurl", () => grpcurl(call, target)]];
}

/** Quote a word for a POSIX shell. */
function shellWord(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function curl(call) {
  const url = new URL(modelPath(call.model, call.choice, `:${call.method}`), document.baseURI).href;
  return `curl ${shellWord(url)} \\\n  -H 'Content-Type: application/json' \\\n  ${shellData("--data-binary", call.body)}`;
}

/** An option with its data as an argument, or on standard input if the data is too long for a command line. */
function shellData(option, text) {
  return text.length < 60000 ? `${option} ${shellWord(text)}` : `${option} @- <<'JSON'\n${text}\nJSON`;
}

function pythonClient(call, target) {
  const [kind, name] = [call.choice[0], call.choice.slice(2)];
  const which = { v: `, version=${name}`, l: `, label=${pythonText(name)}` }[kind] ?? "";
  const defaultSignature = call.method === "predict" ? "serving_default" : call.method;
  const signature = call.signature === defaultSignature ? "" : `, signature=${pythonText(call.signature)}`;
  const argument = call.method === "predict" ? "inputs" : "examples";
  const values = call.method === "predict" ? pythonInputs(call) : pythonDicts(call);
  return `${decodes(values)}from serving import Client

${argument} = ${values}
with Client("${target.tls ? "grpcs://" : ""}${target.address}") as client:
    print(client.${call.method}(${pythonText(call.model)}, ${argument}${which}${signature}))`;
}

function pythonInputs(call) {
  const inputs = [...call.texts].map(([input, text]) => `    ${pythonText(input)}: ${pythonValue(parseJson(text))},`);
  return `{\n${inputs.join("\n")}\n}`;
}

/** The examples as a list of dictionaries whose values are lists. */
function pythonDicts(call) {
  const dicts = examplesOf(call).map((example) => {
    const features = [...example].map(([name, value]) => `${pythonText(name)}: [${pythonItems(value).texts.join(", ")}]`);
    return `    {${features.join(", ")}},`;
  });
  return `[\n${dicts.join("\n")}\n]`;
}

/** The kind of list of a feature, and its items as Python literals. */
function pythonItems(value) {
  const { list, items } = featureOf(value);
  const number = ({ text }) => (/^-?[NI]/.test(text) ? `float("${text.toLowerCase()}")` : text);
  return { list, texts: items.map(list === "bytes_list" ? pythonBytes : number) };
}

function pythonGrpc(call, target) {
  const message = { predict: "PredictRequest", classify: "ClassificationRequest", regress: "RegressionRequest" }[call.method];
  const module = { predict: "predict", classify: "classification", regress: "regression" }[call.method];
  const fill = call.method === "predict" ? pythonTensors(call) : pythonExamples(call);
  const channel = target.tls
    ? `grpc.secure_channel("${target.address}", grpc.ssl_channel_credentials())`
    : `grpc.insecure_channel("${target.address}")`;
  const which = { v: "request.model_spec.version.value = ", l: "request.model_spec.version_label = " }[call.choice[0]];
  const name = call.choice.slice(2);
  const version = which ? `\n${which}${call.choice[0] === "v" ? name : pythonText(name)}` : "";
  return `${decodes(fill)}import grpc
import tensorflow as tf
from tensorflow_serving.apis import ${module}_pb2, prediction_service_pb2_grpc

request = ${module}_pb2.${message}()
request.model_spec.name = ${pythonText(call.model)}${version}
request.model_spec.signature_name = ${pythonText(call.signature)}
${fill}
with ${channel} as channel:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    print(stub.${{ predict: "Predict", classify: "Classify", regress: "Regress" }[call.method]}(request, timeout=30))`;
}

function pythonTensors(call) {
  return [...call.texts].map(([name, text]) => {
    const { numpy } = call.tensors.get(name).dtype;
    const value = pythonValue(parseJson(text));
    return `request.inputs[${pythonText(name)}].CopyFrom(tf.make_tensor_proto(${value}, dtype=tf.${numpy}))`;
  }).join("\n");
}

function pythonExamples(call) {
  const feature = (value) => {
    const { list, texts } = pythonItems(value);
    const message = { int64_list: "Int64List", float_list: "FloatList", bytes_list: "BytesList" }[list];
    return `tf.train.Feature(${list}=tf.train.${message}(value=[${texts.join(", ")}]))`;
  };
  return examplesOf(call).map((example) => {
    const features = [...example].map(([name, value]) => `    ${pythonText(name)}: ${feature(value)},`);
    return `request.input.example_list.examples.add().CopyFrom(tf.train.Example(features=tf.train.Features(feature={\n${features.join("\n")}\n})))`;
  }).join("\n");
}

/** The examples, each number as {text}: a decimal point in the text decides the kind of its feature. */
function examplesOf(call) {
  return parseJson(call.texts.get("examples"), (text) => ({ text }));
}

/** The kind of list that the server reads a feature's value as, and its items (util/json_tensor.cc). */
function featureOf(value) {
  const items = Array.isArray(value) ? value : [value];
  const first = items[0];
  if (typeof first === "string" || first instanceof Map) return { list: "bytes_list", items };
  const texts = items.map((item) => (typeof item === "number" ? { text: String(item) } : item));
  return { list: texts.every((item) => /^-?\d+$/.test(item?.text)) ? "int64_list" : "float_list", items: texts };
}

function decodes(text) {
  return text.includes("b64decode(") ? "from base64 import b64decode\n\n" : "";
}

/** Text as a Python literal. JSON's escapes are valid in Python. Characters that cannot be seen are escaped too. */
function pythonText(text) {
  const hidden = /[\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
  return JSON.stringify(text).replace(hidden, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function pythonBytes(value) {
  return value instanceof Map ? `b64decode(${pythonText(value.get("b64"))})` : `${pythonText(value)}.encode()`;
}

function pythonValue(value) {
  if (Array.isArray(value)) return `[${value.map(pythonValue).join(", ")}]`;
  if (value instanceof Map) return pythonBytes(value);
  if (typeof value === "string") return pythonText(value);
  if (typeof value === "boolean") return value ? "True" : "False";
  return Number.isFinite(value) || typeof value === "bigint" ? String(value) : `float("${String(value).toLowerCase()}")`;
}

function grpcurl(call, target) {
  const method = { predict: "Predict", classify: "Classify", regress: "Regress" }[call.method];
  const [kind, name] = [call.choice[0], call.choice.slice(2)];
  const which = { v: { version: name }, l: { version_label: name } }[kind] ?? {};
  const spec = { name: call.model, ...which, signature_name: call.signature };
  const half = [...call.tensors.values()].find((tensor) => tensor.dtype.field === "half_val" || !tensor.dtype.field);
  if (call.method === "predict" && half) return `# ${pythonText(half.name)} is ${half.dtype.numpy}, which has no readable JSON form; use Python.`;
  const message = call.method === "predict"
    ? { model_spec: spec, inputs: Object.fromEntries([...call.texts].map(([input, text]) => [input, tensorProto(call.tensors.get(input), parseJson(text))])) }
    : { model_spec: spec, input: { example_list: { examples: examplesOf(call).map(exampleProto) } } };
  const data = JSON.stringify(message, (_, value) => (typeof value === "bigint" ? String(value) : value));
  const plain = target.tls ? "" : " -plaintext";
  const end = `${shellWord(target.address)} tensorflow.serving.PredictionService/${method}`;
  if (data.length < 60000) return `grpcurl${plain} -d ${shellWord(data)} \\\n  ${end}`;
  return `grpcurl${plain} -d @ ${end} <<'JSON'\n${data}\nJSON`;
}

/** A TensorProto in protobuf's JSON format. */
function tensorProto(tensor, value) {
  const flat = [value].flat(Infinity).map((item) => (tensor.dtype.kind === "string" ? base64Of(item) : protoNumber(item)));
  return { dtype: tensor.dtype.proto, tensor_shape: { dim: shapeOf(value).map((size) => ({ size: String(size) })) }, [tensor.dtype.field]: flat };
}

function protoNumber(value) {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

function base64Of(value) {
  if (value instanceof Map) return value.get("b64");
  return btoa(String.fromCharCode(...new TextEncoder().encode(value)));
}

function exampleProto(example) {
  const feature = Object.fromEntries([...example].map(([name, value]) => {
    const { list, items } = featureOf(value);
    const convert = { int64_list: (item) => item.text, float_list: (item) => Number(item.text), bytes_list: base64Of }[list];
    return [name, { [list]: { value: items.map(convert) } }];
  }));
  return { features: { feature } };
}
