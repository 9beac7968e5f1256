// The page of the server: images are sent to v1/predict, two at once, and shown beside the photographs.

const AT_ONCE = 2;
const TRIES = 5; // of a request that a busy server refuses
const USUAL_WAIT = 2, LONGEST_WAIT = 30; // seconds before the next try
const BUSY = [429, 503];
const SUFFIXES = {"image/png": "png", "image/webp": "webp", "image/jpeg": "jpg", "image/avif": "avif"};
const LIMIT_OF_ZIP = 2 ** 32 - 1; // bytes; beyond, the format needs an extension

const find = (id) => document.getElementById(id);
const [drop, files, panel, settings, apply, cards] = ["drop", "files", "panel", "settings", "apply", "cards"].map(find);
const [ask, token_field] = ["ask", "token"].map(find);
const fields = settings.elements;
let jobs = [];
let token = ""; // kept in memory only

// ---- Settings ----

/** Show what the other settings need, and enable only that, so that FormData holds nothing else. */
function show_settings() {
  for (const group of settings.querySelectorAll("[data-if]")) {
    const [name, values] = group.dataset.if.split("=");
    const control = fields[name];
    const value = control.type === "checkbox" ? (control.checked ? "on" : "") : control.value;
    group.hidden = group.disabled = !values.split(" ").includes(value);
  }
  fields.level.value = fields.threshold.value;
  const jpeg = fields.format.querySelector("[value=jpg]");
  jpeg.disabled = fields.outputs.value === "cutout" && !fields.background.value;
  if (jpeg.disabled && jpeg.selected) fields.format.value = "png";
  show_summary();
}

/** The parameters of v1/predict, as FormData. */
function parameters() {
  const chosen = new FormData(settings), sent = new FormData();
  const enabled = (name) => !fields[name].matches(":disabled");
  const number = (name) => Number(chosen.get(name) ?? 0);
  for (const name of ["model", "outputs", "threshold", "format"]) if (chosen.get(name)) sent.set(name, chosen.get(name));
  for (const name of ["fill_holes", "refine_edges", "foreground"]) if (enabled(name)) sent.set(name, fields[name].checked);
  for (const name of ["drop_specks", "feather"]) if (number(name)) sent.set(name, number(name));
  if (number("grow")) sent.set(number("grow") > 0 ? "grow" : "shrink", Math.abs(number("grow")));
  if (chosen.get("crop")) sent.set("crop", `${number("margin")}%`);
  const background = chosen.get("background");
  if (background) sent.set("background", chosen.get(background) ?? background); // "color" and "image" name a field
  return sent;
}

/** A text that differs where parameters do. */
function key(sent) {
  return JSON.stringify([...sent].map(([name, value]) => value instanceof File ? [name, value.name, value.size, value.lastModified] : [name, value]));
}

/** Show the problem in the settings, if there is one; returns whether there is none. */
function settings_are_valid() {
  if (settings.checkValidity()) return true;
  panel.open = true;
  settings.reportValidity();
  return false;
}

async function load_models() {
  try {
    const answer = await fetch("v1/models", {headers: authorization()});
    if (answer.status === 401) return ask_for_token();
    if (!answer.ok) throw new Error(await message_of(await answer.blob(), answer.status));
    const {models} = await answer.json();
    fields.model.replaceChildren(...models.map(({name, default: usual}) => new Option(name, name, usual, usual)));
    show_summary();
  } catch (error) {
    find("summary").textContent = `The list of models could not be loaded: ${error.message}`;
  }
}

// ---- Requests ----

const authorization = () => token ? {Authorization: `Bearer ${token}`} : {};

async function message_of(body, status) {
  try {
    return JSON.parse(await body.text()).error.message;
  } catch {
    return `The server answered with status ${status}.`;
  }
}

/** Send one image; XMLHttpRequest, as fetch does not tell how much is sent. Resolves to the request. */
function send(job, sent, signal) {
  const request = new XMLHttpRequest(), body = new FormData();
  for (const [name, value] of sent) body.append(name, value);
  body.append("file", job.file, job.file.name);
  request.open("POST", "v1/predict");
  request.responseType = "blob";
  for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
  request.upload.onprogress = ({loaded, total}) => show(job, "working", "Sending", loaded / total);
  request.upload.onload = () => show(job, "working", "Working");
  return new Promise((resolve, reject) => {
    request.onload = () => resolve(request);
    request.onerror = () => reject(new Error("The server cannot be reached. Fix: check that it is running, then try again."));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

/** Seconds to wait before the next try. */
function seconds_of(request) {
  const text = request.getResponseHeader("Retry-After") ?? USUAL_WAIT;
  const seconds = Number.isNaN(Number(text)) ? (Date.parse(text) - Date.now()) / 1000 : Number(text);
  return Math.min(Math.max(Number.isNaN(seconds) ? USUAL_WAIT : seconds, 0.2), LONGEST_WAIT);
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)));
  });
}

async function send_until_accepted(job, sent, signal) {
  for (let attempt = 1; ; attempt++) {
    const request = await send(job, sent, signal);
    if (!BUSY.includes(request.status) || attempt === TRIES) return request;
    const seconds = seconds_of(request);
    show(job, "working", `The server is busy: try ${attempt + 1} of ${TRIES} in ${Math.ceil(seconds)} s`);
    await pause(seconds, signal);
  }
}

async function process(job) {
  const sent = parameters(), start = performance.now(), used_token = token;
  const {signal} = job.stop = new AbortController();
  job.key = key(sent);
  show(job, "working", "Sending", 0);
  try {
    await job.file.slice(0, 1).arrayBuffer().catch(() => {
      throw new Error("It cannot be read. Fix: choose images, no folders; choose it again if it was changed.");
    });
    const request = await send_until_accepted(job, sent, signal);
    if (request.status === 200) return await show_result(job, request, sent.get("outputs"), performance.now() - start);
    if (request.status !== 401) return show(job, "failed", await message_of(request.response, request.status));
    show(job, "waiting", "Waiting for an access token");
    if (used_token === token) ask_for_token();
  } catch (error) {
    if (!signal.aborted) show(job, "failed", error.message);
  }
}

/** Start requests until AT_ONCE are under way. */
function start_waiting() {
  if (ask.open) return;
  const working = jobs.filter(({state}) => state === "working").length;
  const waiting = jobs.filter(({state}) => state === "waiting").slice(0, Math.max(AT_ONCE - working, 0));
  if (!waiting.length || !settings_are_valid()) return;
  for (const job of waiting) process(job).finally(start_waiting);
}

function ask_for_token() {
  if (ask.open) return;
  find("ask_message").textContent = token ? "The server does not accept this token." : "This server answers to those who have a token.";
  token_field.value = "";
  ask.returnValue = "";
  ask.showModal();
  token_field.focus();
}

ask.addEventListener("close", () => {
  if (ask.returnValue) {
    token = token_field.value;
    load_models();
  } else {
    for (const job of jobs) if (job.state === "waiting") show(job, "failed", "This server needs an access token.");
  }
  token_field.value = "";
  start_waiting();
});

// ---- Cards ----

function add(list) {
  const added = [...list].map((file) => {
    const card = find("card").content.cloneNode(true).firstElementChild;
    const part = (name) => card.querySelector(name);
    const job = {file, card, part, photograph: URL.createObjectURL(file), result: null};
    part("h3").textContent = file.name;
    part(".photograph").alt = `Photograph ${file.name}`;
    // of a format that this browser does not show, as TIFF
    part(".photograph").onerror = () => (part(".photograph").hidden = true);
    part(".photograph").onload = () => set_shape(job, part(".photograph"));
    part(".photograph").src = job.photograph;
    part(".compare input").setAttribute("aria-label", `Share of the photograph ${file.name} that covers the result`);
    part(".compare input").oninput = () => move_divider(job);
    for (const button of card.querySelectorAll(".button, button")) button.setAttribute("aria-label", `${button.textContent} ${file.name}`);
    part(".remove").onclick = () => remove_and_focus(job);
    part(".again").onclick = () => repeat([job]);
    cards.append(card);
    return job;
  });
  jobs.push(...added);
  for (const job of added) {
    if (!job.file.type || job.file.type.startsWith("image/")) show(job, "waiting", "Waiting");
    else show(job, "failed", `No image, but ${job.file.type}: it was not sent.`);
  }
  start_waiting();
}

function show(job, state, text, progress) {
  const changed = job.state !== state;
  job.state = state;
  job.card.className = state;
  job.part(".state").textContent = text;
  const bar = job.part("progress");
  bar.hidden = state !== "working";
  bar.setAttribute("aria-label", `${text} ${job.file.name}`);
  if (progress === undefined) bar.removeAttribute("value");
  else bar.value = progress;
  if (state !== "working") job.part(".again").hidden = state !== "failed" || !job.key;
  if (state === "failed") job.part(".state").role = "alert";
  else job.part(".state").removeAttribute("role");
  if (changed) show_summary();
}

function set_shape(job, picture) {
  job.part(".compare").style.setProperty("--share", picture.naturalHeight / picture.naturalWidth);
}

function move_divider(job) {
  const slider = job.part(".compare input");
  slider.setAttribute("aria-valuetext", `${slider.value} % photograph`);
  job.part(".compare").style.setProperty("--at", `${slider.value}%`);
}

async function show_result(job, request, output, milliseconds) {
  const picture = job.part(".result"), photograph = job.part(".photograph");
  const blob = request.response, suffix = SUFFIXES[blob.type] ?? "bin";
  job.result = {blob, url: URL.createObjectURL(blob), name: `${job.file.name.replace(/\.[^.]*$/, "")}-${output}.${suffix}`};
  picture.src = job.result.url;
  picture.alt = `${settings.querySelector(`[value=${output}]`).text} of ${job.file.name}`;
  picture.hidden = false;
  const shown = await picture.decode().then(() => true, () => false);
  if (!jobs.includes(job)) return forget_result(job); // removed meanwhile
  const sizes = `${picture.naturalWidth} × ${picture.naturalHeight}`;
  const fits = shown && !photograph.hidden && sizes === `${photograph.naturalWidth} × ${photograph.naturalHeight}`;
  job.part(".compare input").hidden = !fits;
  if (fits) move_divider(job);
  else job.part(".compare").style.setProperty("--at", "0%"); // cropped: the result alone
  if (shown) set_shape(job, picture);
  const facts = [`${(blob.size / 1000).toFixed(0)} kB`, `${(milliseconds / 1000).toFixed(1)} s`];
  facts.unshift(shown ? sizes : "This browser does not show the format");
  if (Number(request.getResponseHeader("X-Presence") ?? 1) < 0.5) facts.push("there is probably no object");
  Object.assign(job.part(".save"), {href: job.result.url, download: job.result.name, hidden: false});
  show(job, "done", facts.join(" · "));
}

function forget_result(job) {
  if (job.result) URL.revokeObjectURL(job.result.url);
  job.result = null;
  job.part(".result").removeAttribute("src");
  job.part(".result").hidden = job.part(".save").hidden = job.part(".compare input").hidden = true;
  job.part(".compare").style.setProperty("--at", "100%");
}

function repeat(list) {
  if (!settings_are_valid()) return;
  for (const job of list) {
    forget_result(job);
    show(job, "waiting", "Waiting");
    job.part(".remove").focus({preventScroll: list.length > 1});
  }
  start_waiting();
}

function remove(job) {
  jobs = jobs.filter((other) => other !== job);
  job.stop?.abort();
  forget_result(job);
  URL.revokeObjectURL(job.photograph);
  job.card.remove();
}

function remove_and_focus(job) {
  const place = jobs.indexOf(job);
  remove(job);
  const next = jobs[Math.min(place, jobs.length - 1)];
  (next ? next.part(".remove") : files).focus();
  show_summary();
  start_waiting();
}

const outdated = () => {
  const current = key(parameters());
  return jobs.filter((job) => job.key && ["done", "failed"].includes(job.state) && job.key !== current);
};

function show_summary() {
  const count = (state) => jobs.filter((job) => job.state === state).length;
  const parts = ["done", "working", "waiting", "failed"].filter(count).map((state) => `${count(state)} ${state}`);
  find("summary").textContent = parts.join(", ");
  find("all").hidden = find("empty").hidden = jobs.length > 0;
  find("all").hidden = jobs.length === 0;
  find("save_all").hidden = count("done") === 0;
  const old = outdated().length;
  apply.hidden = old === 0;
  apply.textContent = old === 1 ? "Apply to the image" : `Apply to ${old} images`;
}

// ---- Downloads ----

const CRCS = Uint32Array.from({length: 256}, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte;
});

function little_endian(...pairs) { // [value, bytes]
  return Uint8Array.from(pairs.flatMap(([value, bytes]) => Array.from({length: bytes}, (_, n) => (value / 2 ** (8 * n)) & 255)));
}

/** A zip archive of blobs by name, not compressed further. Source: APPNOTE.TXT 4.3.7, 4.3.12, 4.3.16. */
async function zip(named) {
  const parts = [], directory = [];
  let offset = 0;
  for (const [text, blob] of named) {
    const name = new TextEncoder().encode(text);
    let crc = -1;
    for (const byte of new Uint8Array(await blob.arrayBuffer())) crc = CRCS[(crc ^ byte) & 255] ^ (crc >>> 8);
    // version 2.0, names are UTF-8, stored, 1980-01-01 00:00
    const facts = little_endian([20, 2], [0x800, 2], [0, 2], [0, 2], [33, 2], [~crc >>> 0, 4], [blob.size, 4], [blob.size, 4], [name.length, 2], [0, 2]);
    parts.push(little_endian([0x04034b50, 4]), facts, name, blob);
    directory.push(little_endian([0x02014b50, 4], [20, 2]), facts, little_endian([0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]), name);
    offset += 30 + name.length + blob.size;
  }
  const size = new Blob(directory).size;
  const end = little_endian([0x06054b50, 4], [0, 4], [named.length, 2], [named.length, 2], [size, 4], [offset, 4], [0, 2]);
  return new Blob([...parts, ...directory, end], {type: "application/zip"});
}

async function save_all() {
  const results = jobs.filter(({state}) => state === "done").map(({result}) => result);
  const bytes = results.reduce((sum, {blob}) => sum + blob.size, 0);
  if (bytes > LIMIT_OF_ZIP * 0.99 || results.length > 65535) {
    find("summary").textContent = "The results are too large for one zip archive. Fix: download each.";
    return;
  }
  const named = new Map();
  for (const {name, blob} of results) {
    let unique = name;
    for (let number = 2; named.has(unique); number++) unique = name.replace(/(?=\.[^.]*$)/, ` (${number})`);
    named.set(unique, blob);
  }
  const url = URL.createObjectURL(await zip([...named]));
  Object.assign(document.createElement("a"), {href: url, download: "u2net.zip"}).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000); // the download reads it
}

// ---- Events ----

files.onchange = () => (add(files.files), (files.value = ""));
document.addEventListener("paste", (event) => add(event.clipboardData.files));
document.addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
document.addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  drop.classList.remove("over");
  event.preventDefault();
  add(event.dataTransfer.files);
});
settings.addEventListener("input", show_settings);
settings.addEventListener("change", start_waiting);
settings.addEventListener("reset", () => setTimeout(show_settings)); // after the values are reset
settings.addEventListener("submit", (event) => (event.preventDefault(), repeat(outdated())));
find("save_all").onclick = save_all;
find("clear").onclick = () => {
  for (const job of [...jobs]) remove(job);
  show_summary();
  files.focus();
};
panel.open = matchMedia("(min-width: 56rem)").matches;
show_settings();
load_models();
