// The exported model in a page: reads clips, draws them, and asks the model. Everything it needs lies beside it; see build.py.
import * as ort from "./vendor/ort.wasm.min.mjs";

const POINTS = 543, PARTS = { face: [0, 468], left_hand: [468, 489], pose: [489, 522], right_hand: [522, 543] };
const MOST_FRAMES = 3000;
const element = id => document.getElementById(id);
const state = { about: null, session: null, clip: null, frame: 0, playing: false, asked: 0, answered: 0, busy: false };
window.demo = state; // what the tests look at

class Trouble extends Error {}

function complain(error) {
  element("trouble").textContent = error instanceof Trouble ? error.message : `Something went wrong: ${error.message ?? error}`;
  element("trouble").hidden = false;
}

async function fetched(path, kind) {
  const answer = await fetch(path).catch(() => null);
  if (!answer?.ok) throw new Trouble(`${path} cannot be loaded. Build the page with docs/vendor_demo.sh and docs/demo/build.py, and open it through a web server.`);
  return answer[kind]();
}

// --- Clips: { sign, rate, frames, landmarks }, landmarks a Float32Array of frames × 543 × 3, NaN = not seen ---

async function bundled({ sign, file, frames, frames_per_second }) {
  const landmarks = new Float32Array(await fetched(`data/${file}`, "arrayBuffer"));
  if (landmarks.length !== frames * POINTS * 3) throw new Trouble(`data/${file} has the wrong length; run docs/demo/build.py again.`);
  return { sign, rate: frames_per_second, frames, landmarks };
}

async function opened(file) {
  let content;
  try { content = JSON.parse(await file.text()); }
  catch { throw new Trouble(`${file.name} is not JSON, or cut off. Make it with docs/demo/build.py.`); }
  const rows = content?.landmarks;
  if (!Array.isArray(rows) || !rows.length) throw new Trouble(`${file.name}: landmarks is missing or empty; it should be a list of frames.`);
  if (rows.length > MOST_FRAMES) throw new Trouble(`${file.name}: ${rows.length} frames are too many for one sign; at most ${MOST_FRAMES} are read.`);
  const landmarks = new Float32Array(rows.length * POINTS * 3).fill(NaN);
  rows.forEach((row, frame) => {
    if (!Array.isArray(row) || row.length !== POINTS) throw new Trouble(`${file.name}: frame ${frame} has ${row?.length ?? "no"} points; there should be ${POINTS}.`);
    row.forEach((point, number) => {
      if (point === null) return;
      if (!Array.isArray(point) || point.length !== 3 || !point.every(value => value === null || Number.isFinite(value)))
        throw new Trouble(`${file.name}: point ${number} of frame ${frame} should be [x, y, z] or null.`);
      landmarks.set(point.map(value => value ?? NaN), (frame * POINTS + number) * 3);
    });
  });
  const rate = Number(content.frames_per_second);
  return { sign: file.name, rate: rate > 0 && rate <= 240 ? rate : 30, frames: rows.length, landmarks };
}

// --- Asking the model ---

async function ask(landmarks, frames) {
  const inputs = { landmarks: new ort.Tensor("float32", landmarks, [1, frames, POINTS, 3]),
                   lengths: new ort.Tensor("int64", BigInt64Array.from([BigInt(frames)]), [1]) };
  const began = performance.now();
  const { logits } = await state.session.run(inputs);
  return { logits: Array.from(logits.data), milliseconds: performance.now() - began, frames };
}

function probabilities(logits, temperature) {
  const highest = Math.max(...logits), shares = logits.map(logit => Math.exp((logit - highest) / temperature));
  const sum = shares.reduce((total, share) => total + share, 0);
  return shares.map(share => share / sum);
}

async function recognise() {
  state.asked += 1;
  if (state.busy) return; // one question at a time; the latest is asked next
  state.busy = true;
  try {
    while (state.answered < state.asked) {
      const question = state.asked, { landmarks, frames } = state.clip;
      const count = element("partial").checked ? state.frame + 1 : frames;
      state.answer = await ask(landmarks.subarray(0, count * POINTS * 3), count);
      state.answered = question;
    }
    report(state.answer);
  } finally { state.busy = false; }
}

function report({ logits, milliseconds, frames }) {
  const percent = share => `${(100 * share).toFixed(1)} %`;
  const guesses = probabilities(logits, state.about.temperature).map((share, number) => ({ sign: state.about.classes[number], share }))
    .sort((one, other) => other.share - one.share).slice(0, 5);
  state.guesses = guesses;
  const verdict = `“${guesses[0].sign}”, ${percent(guesses[0].share)}`;
  if (element("verdict").textContent !== verdict) element("verdict").textContent = verdict;
  element("guesses").replaceChildren(...guesses.map(({ sign, share }) => {
    const row = document.createElement("li"), bar = document.createElement("div"), name = document.createElement("span"), value = document.createElement("span");
    [name.textContent, value.textContent, value.className, bar.className] = [sign, percent(share), "share", "bar"];
    bar.setAttribute("aria-hidden", "true");
    bar.append(document.createElement("span"));
    bar.firstChild.style.width = `${100 * share}%`;
    row.append(name, value, bar);
    return row;
  }));
  element("latency").textContent = `${milliseconds.toFixed(1)} ms`;
  element("frames").textContent = frames > state.about.max_len ? `${frames}, thinned to ${state.about.max_len}` : `${frames}`;
}

// --- Drawing ---

function draw() {
  const { clip, frame, about } = state, canvas = element("stage"), pen = canvas.getContext("2d");
  const colours = getComputedStyle(document.documentElement), start = frame * POINTS * 3;
  const place = number => [clip.landmarks[start + 3 * number] * canvas.width, clip.landmarks[start + 3 * number + 1] * canvas.height];
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineCap = "round";
  for (const [part, edges] of Object.entries(about.edges)) {
    pen.strokeStyle = pen.fillStyle = colours.getPropertyValue(`--${part}`).trim();
    pen.lineWidth = part.endsWith("hand") ? 3.5 : 2;
    pen.beginPath();
    for (const [one, other] of edges) {
      const ends = [place(one), place(other)];
      if (ends.flat().every(Number.isFinite)) { pen.moveTo(...ends[0]); pen.lineTo(...ends[1]); }
    }
    pen.stroke();
  }
  const seen = Object.keys(PARTS).filter(part => Number.isFinite(clip.landmarks[start + 3 * PARTS[part][0]])).map(part => part.replace("_", " "));
  canvas.setAttribute("aria-label", `Stick figure, frame ${frame + 1} of ${clip.frames}; seen: ${seen.join(", ") || "nothing"}`);
}

function show(frame) {
  state.frame = frame;
  element("frame").value = frame;
  element("frame").setAttribute("aria-valuetext", `${frame + 1} of ${state.clip.frames}`);
  element("position").textContent = `${frame + 1}/${state.clip.frames}`;
  draw();
  if (element("partial").checked) recognise().catch(complain);
}

function play(playing) {
  state.playing = playing;
  element("play").textContent = playing ? "Pause" : "Play";
  if (!playing) return;
  const first = state.frame >= state.clip.frames - 1 ? 0 : state.frame, clip = state.clip;
  let began;
  const step = now => {
    if (!state.playing || state.clip !== clip) return;
    began ??= now;
    const frame = first + Math.floor((now - began) / 1000 * clip.rate);
    if (frame >= clip.frames) { show(clip.frames - 1); return play(false); }
    if (frame !== state.frame || frame === first) show(frame);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

async function choose(clip) {
  element("trouble").hidden = true;
  play(false);
  state.clip = clip;
  element("frame").max = clip.frames - 1;
  for (const id of ["play", "frame"]) element(id).disabled = false;
  show(Math.floor(clip.frames / 2));
  await recognise();
}

// --- The page ---

async function takeFile(file) {
  if (!file || !state.session) return;
  const clip = await opened(file), select = element("clips");
  select.querySelector("[value=own]")?.remove();
  select.add(new Option(file.name, "own", true, true));
  state.own = clip;
  await choose(clip);
}

function listen() {
  const select = element("clips");
  const guarded = action => (...values) => Promise.resolve().then(() => action(...values)).catch(complain);
  select.addEventListener("change", guarded(async () => choose(select.value === "own" ? state.own : await bundled(state.about.clips[select.value]))));
  element("play").addEventListener("click", () => play(!state.playing));
  element("frame").addEventListener("input", () => { play(false); show(Number(element("frame").value)); });
  element("partial").addEventListener("change", guarded(recognise));
  element("file").addEventListener("change", guarded(async () => { await takeFile(element("file").files[0]); element("file").value = ""; }));
  addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("dropping"); });
  addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  addEventListener("drop", event => { event.preventDefault(); document.body.classList.remove("dropping"); guarded(takeFile)(event.dataTransfer.files[0]); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state.clip && draw());
}

async function start() {
  listen();
  ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
  ort.env.wasm.numThreads = 1;
  state.about = await fetched("data/demo.json", "json");
  const content = new Uint8Array(await fetched(`data/${state.about.model}`, "arrayBuffer"));
  try { state.session = await ort.InferenceSession.create(content); }
  catch (error) { throw new Trouble(`The model cannot be opened here: ${String(error.message ?? error).slice(0, 120)}`); }
  await ask(new Float32Array(16 * POINTS * 3).fill(NaN), 16); // the first answer takes longer than all others
  const { clips, manifest, data_kind } = state.about, select = element("clips");
  element("model").textContent = `${manifest || "unnamed"}, ${(content.length / 1e6).toFixed(1)} MB`;
  element("warning").hidden = data_kind !== "synthetic";
  select.replaceChildren(...clips.map(({ sign }, number) => new Option(sign, number)));
  select.disabled = false;
  await choose(await bundled(clips[0]));
  state.ready = true;
}

start().catch(error => { element("verdict").textContent = "The model is not available."; complain(error); });
