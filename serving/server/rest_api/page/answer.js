// The readable view of an answer: classes as bars, a summary of numbers. The full text is shown below it.

const BARS = 10;
const ROWS = 4;

/** The elements that show a parsed reply. `outputs`: the signature's outputs by name. */
function answerView(reply, outputs) {
  if (reply.has("results")) return resultsView(reply.get("results"));
  if (reply.has("outputs")) return columnsView(reply.get("outputs"), outputs);
  return columnsView(columnsOf(reply.get("predictions")), outputs);
}

/** Turn rows into columns. A single output has no name in the reply. */
function columnsOf(rows) {
  if (!(rows[0] instanceof Map)) return rows;
  return new Map([...rows[0].keys()].map((name) => [name, rows.map((row) => row.get(name))]));
}

function columnsView(value, outputs) {
  const isBytes = value instanceof Map && value.size === 1 && value.has("b64");
  const columns = value instanceof Map && !isBytes ? value : new Map([[outputs.keys().next().value, value]]);
  const classes = columns.get("classes");
  return [...columns].flatMap(([name, column]) => outputView(name, column, name === "scores" ? classes : undefined));
}

/** The results of classify (lists of [label, score]) or regress (numbers). */
function resultsView(results) {
  if (!Array.isArray(results[0])) return outputView("result", results);
  return results.slice(0, ROWS).flatMap((pairs, row) => [
    make("h3", {}, `Classes${results.length > 1 ? `, example ${row}` : ""}`),
    bars(pairs.map(([label, score], index) => [String(label || `class ${index}`), Number(score)])),
  ]);
}

function outputView(name, value, labels) {
  const shape = shapeOf(value);
  const title = make("h3", {}, name, " ", make("span", { className: "quiet" }, dimsText(shape)));
  const flat = [value].flat(Infinity);
  if (flat.some((item) => typeof item !== "number" && typeof item !== "bigint")) return [title, listView(flat)];
  const numbers = flat.map(Number);
  if (shape.length === 2 && shape[1] > 1 && shape[0] > 0) {
    const classes = value.slice(0, ROWS).map((row) => classesOf(name, row.map(Number)));
    if (classes.every(Boolean)) return [title, ...classes.flatMap((shares, row) => classView(shares, row, shape[0], labels?.[row]))];
  }
  return [title, numbers.length <= 16 ? make("p", {}, make("code", {}, formatJson(value))) : numbersView(numbers)];
}

/**
 * The shares of a row's classes: its values if they are shares (the top few need not sum to 1), or their softmax if only the
 * output's name suggests classes. Null if they are not classes.
 */
function classesOf(name, row) {
  const sum = row.reduce((total, value) => total + value, 0);
  const named = /logit|score|prob|class|pred/i.test(name);
  if (row.every((value) => value >= 0 && value <= 1) && (named || Math.abs(sum - 1) < 1e-2)) return { row, note: "" };
  if (!named || !row.every(Number.isFinite)) return null;
  const top = Math.max(...row);
  const exps = row.map((value) => Math.exp(value - top));
  const total = exps.reduce((all, value) => all + value, 0);
  return { row: exps.map((value) => value / total), note: "Softmax of the answer" };
}

function classView({ row, note }, index, count, labels) {
  const pairs = row.map((value, i) => [labels ? String(labels[i]) : `class ${i}`, value]);
  const texts = [...(count > 1 ? [`Row ${index}`] : []), ...(note ? [note] : []), ...(count > ROWS && !index ? [`first ${ROWS} of ${count} rows`] : [])];
  return [...(texts.length ? [make("p", { className: "quiet" }, texts.join(", "))] : []), bars(pairs)];
}

/** The pairs [label, share] with the largest shares, as bars. */
function bars(pairs) {
  const sorted = [...pairs].sort((a, b) => b[1] - a[1]);
  const items = sorted.slice(0, BARS).map(([label, share], index) => {
    const fill = make("div", { className: "fill" });
    fill.style.width = `${Math.min(100, Math.max(0, 100 * share))}%`;
    return make("li", { className: index ? "" : "first" }, make("span", { className: "name" }, label),
      make("span", { className: "track", "aria-hidden": "true" }, fill), make("span", { className: "value" }, percent(share)));
  });
  const list = make("ol", { className: "bars", role: "list" }, ...items);
  if (sorted.length > BARS) return make("div", {}, list, make("p", { className: "quiet" }, `${counted(sorted.length - BARS, "more class", "more classes")} with lower scores`));
  return list;
}

function percent(share) {
  if (share > 0 && share < 1e-4) return "< 0.01 %";
  return Number.isFinite(share) && share >= 0 && share <= 1 ? `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %` : share.toPrecision(4);
}

function listView(values) {
  const shown = values.slice(0, 20).map((value) => make("li", {}, value instanceof Map ? formatJson(value) : String(value)));
  return make("ul", {}, ...shown, ...(values.length > 20 ? [make("li", { className: "quiet" }, `${values.length - 20} more`)] : []));
}

function numbersView(numbers) {
  const finite = numbers.filter(Number.isFinite);
  const sum = (f) => finite.reduce((total, value) => total + f(value), 0);
  const facts = [
    ["values", numbers.length], ["not finite", numbers.length - finite.length],
    ["minimum", finite.reduce((a, b) => Math.min(a, b), Infinity).toPrecision(5)],
    ["mean", (sum((x) => x) / finite.length).toPrecision(5)],
    ["maximum", finite.reduce((a, b) => Math.max(a, b), -Infinity).toPrecision(5)],
    ["L2 norm", Math.sqrt(sum((x) => x * x)).toPrecision(5)],
  ];
  const shown = facts.filter(([name, value]) => name !== "not finite" || value > 0);
  const rows = shown.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, String(value))));
  return make("table", {}, make("tbody", {}, ...rows));
}
