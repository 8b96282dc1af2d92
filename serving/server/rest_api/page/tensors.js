// Dtypes and shapes: a tensor's description in a signature, and whether a value fits it.

// numpy: the name that is shown; field: the field of TensorProto; noJson: whether REST cannot read it as an input.
const DTYPES = {
  DT_FLOAT: { numpy: "float32", field: "float_val", kind: "float" },
  DT_DOUBLE: { numpy: "float64", field: "double_val", kind: "float" },
  DT_HALF: { numpy: "float16", field: "half_val", kind: "float", noJson: true },
  DT_BFLOAT16: { numpy: "bfloat16", field: "half_val", kind: "float", noJson: true },
  DT_INT8: { numpy: "int8", field: "int_val", kind: "int" },
  DT_INT16: { numpy: "int16", field: "int_val", kind: "int" },
  DT_INT32: { numpy: "int32", field: "int_val", kind: "int" },
  DT_INT64: { numpy: "int64", field: "int64_val", kind: "int" },
  DT_UINT8: { numpy: "uint8", field: "int_val", kind: "int" },
  DT_UINT16: { numpy: "uint16", field: "int_val", kind: "int", noJson: true },
  DT_UINT32: { numpy: "uint32", field: "uint32_val", kind: "int" },
  DT_UINT64: { numpy: "uint64", field: "uint64_val", kind: "int" },
  DT_BOOL: { numpy: "bool", field: "bool_val", kind: "bool" },
  DT_STRING: { numpy: "string", field: "string_val", kind: "string" },
};

/** Read a tensor of the metadata as {name, dtype, dims}. A dynamic dim is -1; `dims` is null if the rank is unknown. */
function readTensor(name, info) {
  const dtype = DTYPES[info.dtype] || { numpy: info.dtype, field: "", kind: "other", noJson: true };
  const shape = info.tensor_shape || {};
  const dims = shape.unknown_rank ? null : (shape.dim || []).map((dim) => Number(dim.size));
  return { name, dtype: { ...dtype, proto: info.dtype }, dims };
}

function dimsText(dims) {
  if (dims === null) return "any rank";
  return dims.length ? `[${dims.map((size) => (size < 0 ? "?" : size)).join(", ")}]` : "scalar";
}

/** The shape of nested lists. Throws an Error if they are ragged. */
function shapeOf(value) {
  if (!Array.isArray(value)) return [];
  const shapes = value.map(shapeOf);
  const first = shapes[0] || [];
  if (shapes.some((shape) => shape.length !== first.length || shape.some((size, axis) => size !== first[axis]))) {
    throw new Error("lists at the same depth differ in length");
  }
  return [value.length, ...first];
}

function fits(shape, dims) {
  return dims === null || (shape.length === dims.length && dims.every((size, axis) => size < 0 || size === shape[axis]));
}

/** The dims with numbers instead of dynamic dims. `sizes`: axis -> number. */
function concrete(dims, sizes) {
  return (dims || [-1]).map((size, axis) => (size < 0 ? sizes.get(axis) ?? 1 : size));
}

/** JSON text of a tensor, with the last axis on one line. `leaf(index)` returns the text of the element with flat index `index`. */
function nest(shape, leaf, indent = "") {
  let index = 0;
  function level(axis, space) {
    if (axis === shape.length) return leaf(index++);
    const parts = Array.from({ length: shape[axis] }, () => level(axis + 1, `${space} `));
    return `[${parts.join(axis === shape.length - 1 ? ", " : `,\n${space} `)}]`;
  }
  return level(0, indent);
}

/** JSON text of an example value: a ramp from 0 to 1 for floats, 1 for integers (a valid index and a true mask), true for bool. */
function exampleText(tensor, shape, indent = "") {
  const count = shape.reduce((product, size) => product * size, 1);
  const leaves = {
    float: (index) => (count > 1 ? index / (count - 1) : 0.5).toFixed(count > 100 ? 3 : 2),
    int: () => "1",
    bool: () => "true",
    string: () => '"text"',
    other: () => "0",
  };
  return nest(shape, leaves[tensor.dtype.kind], indent);
}
