"use strict";
// Reads the bundle in this page, checks every byte of it, and shows only what it has checked.
const K = new Uint32Array(64);
const START = new Uint32Array(8);
(function constants() {
  // FIPS 180-4: the first 32 bits of the fractional parts of cube and square roots of primes.
  const part = (x) => Math.floor((x - Math.floor(x)) * 0x100000000);
  for (let n = 2, found = 0; found < 64; n++) {
    let prime = true;
    for (let d = 2; d * d <= n; d++) if (n % d === 0) prime = false;
    if (!prime) continue;
    if (found < 8) START[found] = part(Math.sqrt(n));
    K[found++] = part(Math.cbrt(n));
  }
})();

function sha256(bytes) {
  const length = (bytes.length + 72) & ~63;
  const padded = new Uint8Array(length);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(length - 8, Math.floor(bytes.length / 0x20000000));
  view.setUint32(length - 4, (bytes.length << 3) >>> 0);
  const h = START.slice();
  const w = new Uint32Array(64);
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  for (let at = 0; at < length; at += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
    }
    let [a, b, c, d, e, f, g, k] = h;
    for (let i = 0; i < 64; i++) {
      const one = (k + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
      const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      k = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
    }
    [a, b, c, d, e, f, g, k].forEach((x, i) => { h[i] += x; });
  }
  const out = new Uint8Array(32);
  h.forEach((x, i) => new DataView(out.buffer).setUint32(4 * i, x));
  return out;
}

const utf8 = (text) => new TextEncoder().encode(text);
const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
const unhex = (text) => Uint8Array.from(text.match(/../g) || [], (pair) => parseInt(pair, 16));
const unbase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const joined = (...parts) => {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  parts.reduce((at, p) => (out.set(p, at), at + p.length), 0);
  return out;
};
const leaf = (text) => sha256(joined([0], utf8(text)));
const node = (left, right) => sha256(joined([1], left, right));

// The right edge of the tree (RFC 6962): complete subtrees, largest first.
function add(tree, level, root) {
  if (tree.size % 2 ** level !== 0) throw new Error("a gap doesn't fit where it stands");
  const size = tree.size + 2 ** level;
  let at = Math.floor(tree.size / 2 ** level);
  while (at % 2 === 1) { root = node(tree.peaks.pop(), root); at = (at - 1) / 2; }
  tree.peaks.push(root);
  tree.size = size;
}

function skip(tree, count, roots) {
  const end = tree.size + count;
  for (const root of roots) {
    let level = 0;
    while (tree.size + 2 ** (level + 1) <= end && tree.size % 2 ** (level + 1) === 0) level++;
    if (tree.size >= end) throw new Error("a gap has too many hashes");
    add(tree, level, unhex(root));
  }
  if (tree.size !== end) throw new Error("a gap has too few hashes");
}

// What a field says that the record before commits to: the SHA-256 of the line is the commitment. Openings stand in the
// order of the fields.
function open(record, line, previous) {
  const [tag, field, , value] = JSON.parse(line);
  if (previous.startsWith("[\"") && JSON.parse(previous)[1] >= field) throw new Error(`openings beside record ${record ? record.seq : 1} stand in another order than its fields`);
  const known = record && tag === "lar-opening/v1" && Object.hasOwn(record.committed ?? {}, field);
  if (!known || record.committed[field] !== hex(sha256(utf8(line)))) throw new Error(`an opening beside record ${record ? record.seq : 1} opens nothing in it`);
  record[field] = value;
}

function check(text) {
  const found = { records: [], at: 1 };
  if (!text.endsWith("\n")) throw new Error("the last line isn't ended");
  const lines = text.slice(0, -1).split("\n");
  const header = JSON.parse(lines.shift());
  if (header.bundle !== "lar-bundle/v1") throw new Error("it is of another form");
  const cut = header.checkpoint.lastIndexOf("\n\n");
  found.header = header;
  found.note = header.checkpoint.slice(0, cut + 1);
  found.signatures = header.checkpoint.slice(cut + 2).trim().split("\n");
  const [origin, size, root] = found.note.split("\n");
  Object.assign(found, { origin, size: Number(size), root });
  const tree = { size: 0, peaks: [] };
  let before = sha256(new Uint8Array());
  for (const [at, line] of lines.entries()) {
    if (line.startsWith("[\"")) { open(found.records[found.records.length - 1], line, lines[at - 1] ?? ""); continue; }
    if (line.startsWith("[")) { const [count, ...roots] = JSON.parse(line); skip(tree, count, roots); continue; }
    const record = JSON.parse(line);
    for (const field of Object.keys(record.committed ?? {})) {
      if (field in record) throw new Error(`record ${found.at} says what it commits to`);
      record[field] = "(erased)";
    }
    if (record.seq !== found.at) throw new Error(`record ${found.at} is not where it belongs`);
    if (record.run !== header.run) throw new Error(`record ${found.at} belongs to another run`);
    if (record.prev !== hex(before)) throw new Error(`record ${found.at} doesn't follow the one before it`);
    before = leaf(line);
    add(tree, 0, before);
    found.records.push(record);
    found.at++;
  }
  if (found.records.length !== header.records) throw new Error(`record ${found.at} is missing`);
  if (hex(before) !== header.head) throw new Error(`record ${found.at - 1} was changed`);
  const peaks = tree.peaks.slice();
  let top = peaks.pop();
  while (peaks.length > 0) top = node(peaks.pop(), top);
  if (tree.size !== found.size || btoa(String.fromCharCode(...top)) !== root) throw new Error("the records lead to another root than the checkpoint's");
  return found;
}

async function signed(found, key) {
  const [name, id, encoded] = [key.slice(0, key.indexOf("+")), ...key.slice(key.indexOf("+") + 1).split(/\+(.*)/s)];
  const bytes = unbase64(encoded);
  if (bytes[0] !== 1 || bytes.length !== 33) throw new Error("it is not a log's Ed25519 key");
  if (name !== found.origin) throw new Error("the key is of another log");
  if (hex(sha256(joined(utf8(`${name}\n`), bytes)).slice(0, 4)) !== id) throw new Error("the key's id isn't that of the key");
  const usable = await crypto.subtle.importKey("raw", bytes.slice(1), "Ed25519", false, ["verify"]);
  for (const line of found.signatures) {
    const [, who, signature] = line.split(" ");
    const raw = unbase64(signature);
    if (who === name && hex(raw.slice(0, 4)) === id && await crypto.subtle.verify("Ed25519", usable, raw.slice(4), utf8(found.note))) return true;
  }
  return false;
}

// Characters that can't be seen, or move others, are shown by their number.
const shown = (value) => String(value ?? "").replace(/[\p{C}\p{Zl}\p{Zp}\u2800\u3164]/gu, (c) => `‹U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = shown(text);
  if (kind) made.className = kind;
  return made;
}

function table(head, rows) {
  const made = element("table");
  made.createTHead().insertRow().append(...head.map((text) => element("th", text)));
  const body = made.createTBody();
  for (const row of rows) body.insertRow().append(...row.map((text) => element("td", text)));
  const around = element("div", undefined, "scroll");
  around.append(made);
  return around;
}

function verdict(name, word, why) {
  const line = element("p");
  line.append(element("span", `${name}: `), element("span", word, word), element("span", why ? ` (${why})` : ""));
  return line;
}

function what(record) {
  switch (record.type) {
    case "run_open": return record.task;
    case "intent": return record.args?.argv ? record.args.argv.join(" ") : JSON.stringify(record.args);
    case "outcome": return `${record.outcome ?? "never began"}${record.reason ? `, ${record.reason}` : ""} ${record.result_summary}`;
    case "approval": return `${record.approved ? "approved" : "denied"} by ${record.approver} (${record.approver_identity}): ${record.message}`;
    case "error": return `${record.error_type}: ${record.message}`;
    case "run_close": return `${record.stop_reason}, ${record.records} records`;
    default: return record.message ?? record.requested_scope ?? "";
  }
}

function show(page, text) {
  let found;
  try { found = check(text); } catch (error) {
    page.append(element("h1", "This record can't be relied on"), verdict("Integrity", "broken", error.message));
    return;
  }
  const close = found.records.find((record) => record.type === "run_close");
  page.append(element("h1", `Run ${found.header.run}`));
  page.append(verdict("Integrity", "ok", `${found.records.length} records, recomputed in this browser`));
  const authentic = element("div");
  authentic.append(verdict("Authenticity", "absent", "give the log's key, which you know from elsewhere"));
  page.append(authentic, verdict("Witnessing", "absent", "not judged by this page; use lar-verify"));
  page.append(close ? verdict("Completeness", "ok", "the run has its end; lar-verify also recounts every token") : verdict("Completeness", "absent", "the run has no end"));
  const label = element("label", "The log's key, as NAME+ID+BASE64");
  const input = element("input");
  input.id = "key"; label.htmlFor = "key"; input.autocomplete = "off";
  input.addEventListener("change", async () => {
    try {
      const good = await signed(found, input.value.trim());
      authentic.replaceChildren(verdict("Authenticity", good ? "ok" : "broken", good ? "this key signed the checkpoint" : "this key did not sign the checkpoint"));
    } catch (error) { authentic.replaceChildren(verdict("Authenticity", "absent", error.message)); }
  });
  const save = element("button", "Save the bundle, for lar-verify");
  save.addEventListener("click", () => {
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
    link.download = `${found.header.run}.bundle`;
    link.click();
  });
  page.append(label, input, save);
  page.append(element("h2", "What happened"), table(["record", "time", "type", "token", "what"], found.records.filter((record) => record.type !== "model_turn").map((record) => [record.seq, record.timestamp, record.type, record.token_name, what(record)])));
  if (close) page.append(element("h2", "Every token"), table(["token", "granted", "succeeded", "failed", "unknown", "never used"], close.tokens.map((t) => [t.token_name, t.granted, t.succeeded, t.failed, t.unknown, t.unused])));
  page.append(element("h2", "The checkpoint"), element("pre", "")); page.lastChild.textContent = found.header.checkpoint;
  const all = element("details");
  all.append(element("summary", "All records"));
  for (const record of found.records) all.append(element("pre", JSON.stringify(record)));
  page.append(all);
}

show(document.getElementById("page"), JSON.parse(document.getElementById("bundle").textContent));
