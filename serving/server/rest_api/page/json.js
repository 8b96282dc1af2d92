"use strict";
// JSON as TensorFlow Serving reads and writes it: NaN, Infinity and -Infinity stand bare, integers have 64 bits.

const TOKEN = /\s*(?:([[\]{},:])|("(?:[^"\\\u0000-\u001f]|\\.)*")|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(true|false|null|NaN|-?Infinity))/y;
const WORDS = { true: true, false: false, null: null, NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };

/** A number; an integer that a double cannot hold becomes a BigInt. */
function readNumber(text) {
  const value = Number(text);
  return /[.eE]/.test(text) || Number.isSafeInteger(value) ? value : BigInt(text);
}

/** The value of a JSON text. Throws a SyntaxError that names the line. `number` makes a value of a number's text. */
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
  function items(close, one) {
    const before = end;
    next();
    if (token[1] === close) return;
    end = before;
    do {
      one();
      next();
    } while (token[1] === ",");
    if (token[1] !== close) fail(`A "," or "${close}" is missing`);
  }
  function value() {
    next();
    if (token[1] === "[") {
      const made = [];
      items("]", () => made.push(value()));
      return made;
    }
    if (token[1] === "{") {
      const made = new Map();
      items("}", () => {
        next();
        if (!token[2]) fail("A key in quotes is missing");
        const key = JSON.parse(token[2]);
        next();
        if (token[1] !== ":") fail('A ":" is missing');
        made.set(key, value());
      });
      return made;
    }
    if (token[2]) return JSON.parse(token[2]);
    if (token[3]) return number(token[3]);
    if (token[4]) return WORDS[token[4]];
    return fail("A value is missing");
  }

  const made = value();
  if (text.slice(end).trim()) fail("There is more after the value");
  return made;
}

/** A parsed value as JSON text on one line. */
function formatJson(value) {
  if (Array.isArray(value)) return `[${value.map(formatJson).join(", ")}]`;
  if (value instanceof Map) {
    return `{${[...value].map(([key, item]) => `${JSON.stringify(key)}: ${formatJson(item)}`).join(", ")}}`;
  }
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
