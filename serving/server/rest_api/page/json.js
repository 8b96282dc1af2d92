"use strict";
// JSON as TensorFlow Serving reads and writes it: NaN, Infinity and -Infinity without quotes, and integers of 64 bits.

const TOKEN = /\s*(?:([[\]{},:])|("(?:[^"\\\u0000-\u001f]|\\.)*")|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null|NaN|-?Infinity))/y;
const WORDS = { true: true, false: false, null: null, NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };

/** Read a number. An integer that a double cannot represent becomes a BigInt. */
function readNumber(text) {
  const value = Number(text);
  return /[.eE]/.test(text) || Number.isSafeInteger(value) ? value : BigInt(text);
}

/** Parse a JSON text. Throws a SyntaxError that names the line. `number` converts the text of a number. */
function parseJson(text, number = readNumber) {
  let end = 0;
  let token = null;

  function fail(what) {
    const line = text.slice(0, end).split("\n").length;
    throw new SyntaxError(`${what} in line ${line}, at ${JSON.stringify(text.slice(end, end + 20).trim()) || "the end"}`);
  }
  function next() {
    TOKEN.lastIndex = end;
    token = TOKEN.exec(text);
    if (!token) fail(text.slice(end).trim() ? "Not JSON" : "The JSON is not complete");
    end = TOKEN.lastIndex;
  }
  function items(close, readItem) {
    const start = end;
    next();
    if (token[1] === close) return;
    end = start;
    do {
      readItem();
      next();
    } while (token[1] === ",");
    if (token[1] !== close) fail(`A "," or "${close}" is missing`);
  }
  function value() {
    next();
    if (token[1] === "[") {
      const list = [];
      items("]", () => list.push(value()));
      return list;
    }
    if (token[1] === "{") {
      const object = new Map();
      items("}", () => {
        next();
        if (!token[2]) fail("A key in quotes is missing");
        const key = JSON.parse(token[2]);
        next();
        if (token[1] !== ":") fail('A ":" is missing');
        object.set(key, value());
      });
      return object;
    }
    if (token[2]) return JSON.parse(token[2]);
    if (token[3]) return number(token[3]);
    if (token[4]) return WORDS[token[4]];
    return fail("A value is missing");
  }

  const parsed = value();
  if (text.slice(end).trim()) fail("Unexpected text after the value");
  return parsed;
}

/** A parsed value as JSON text on one line. */
function formatJson(value) {
  if (Array.isArray(value)) return `[${value.map(formatJson).join(", ")}]`;
  if (value instanceof Map) {
    return `{${[...value].map(([key, item]) => `${JSON.stringify(key)}: ${formatJson(item)}`).join(", ")}}`;
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
