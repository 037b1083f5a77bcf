// The exported model in a page: draws and plays clips, and asks the model about what has been played. What it needs lies beside it; see build.py.
import { openModel, POINTS, Trouble } from "./model.js";

const PARTS = { face: [0, 468], left_hand: [468, 489], pose: [489, 522], right_hand: [522, 543] };
const MOST_FRAMES = 3000, TRAIL = 14;
const element = id => document.getElementById(id);
const state = { about: null, model: null, clip: null, own: {}, frame: 0, playing: false, asked: 0, answered: 0, busy: false };
window.demo = state; // what the tests look at

function complain(error) {
  element("trouble").textContent = error instanceof Trouble ? error.message : `Something went wrong: ${error.message ?? error}`;
  element("trouble").hidden = false;
}

const guarded = action => (...values) => Promise.resolve().then(() => action(...values)).catch(complain);

async function fetched(path, kind) {
  const answer = await fetch(path).catch(() => null);
  if (!answer?.ok) throw new Trouble(`${path} cannot be loaded. Build the page with docs/vendor_demo.sh and docs/demo/build.py, and open it through a web server.`);
  return answer[kind]();
}

// --- Clips: { sign, rate, frames, landmarks, aspect }, landmarks a Float32Array of frames × 543 × 3, NaN = not seen, in a picture of that shape (none: 4:3) ---

async function bundled({ sign, file, frames, frames_per_second }) {
  const landmarks = new Float32Array(await fetched(`data/${file}`, "arrayBuffer"));
  if (landmarks.length !== frames * POINTS * 3) throw new Trouble(`data/${file} has the wrong length; run docs/demo/build.py again.`);
  return { sign, rate: frames_per_second, frames, landmarks };
}

async function readClip(file) {
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

// --- Asking the model about the frames up to the present one ---

async function recognise() {
  state.asked += 1;
  if (state.busy) return; // one question at a time; the latest is asked next
  state.busy = true;
  try {
    while (state.answered < state.asked) {
      const question = state.asked, { model, clip, frame } = state;
      state.answer = await model.ask(clip.landmarks.subarray(0, (frame + 1) * POINTS * 3), frame + 1, clip.aspect);
      report(state.answer);
      state.answered = question;
    }
  } finally { state.busy = false; }
}

function report({ guesses, milliseconds, frames }) {
  const percent = share => `${(100 * share).toFixed(1)} %`, all = frames === state.clip.frames;
  element("verdict").textContent = guesses[0].sign;
  element("seen").textContent = `${percent(guesses[0].share)} ${all ? `after all ${frames} frames` : `after ${frames} of ${state.clip.frames} frames`}`
    + (frames > state.model.mostFrames ? `, thinned to ${state.model.mostFrames}` : "");
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
}

// --- Drawing ---

function draw() {
  const { clip, frame, about } = state, canvas = element("stage"), pen = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement), colour = part => style.getPropertyValue(`--${part}`).trim();
  canvas.height = Math.round(canvas.width / (clip.aspect ?? 4 / 3));
  const place = (number, when = frame) => [0, 1].map(axis => clip.landmarks[3 * (when * POINTS + number) + axis] * (axis ? canvas.height : canvas.width));
  const line = points => { // leaves out what was not seen
    pen.beginPath();
    points.forEach((point, number) => {
      if (point.every(Number.isFinite)) pen[number && points[number - 1].every(Number.isFinite) ? "lineTo" : "moveTo"](...point);
    });
    pen.stroke();
  };
  pen.lineCap = pen.lineJoin = "round";
  for (const [part, edges] of Object.entries(about.edges)) {
    const hand = part.endsWith("hand"), start = PARTS[part][0];
    pen.strokeStyle = pen.fillStyle = colour(part);
    pen.lineWidth = hand ? 4.5 : part === "pose" ? 6 : 1.8;
    for (const edge of edges) line(edge.map(number => place(number)));
    if (!hand) continue;
    for (let number = start; number < PARTS[part][1]; number++) {
      pen.beginPath();
      pen.arc(...place(number), 3.4, 0, 7);
      if (place(number).every(Number.isFinite)) pen.fill();
    }
    pen.lineCap = "butt";
    for (let ago = Math.min(TRAIL, frame); ago > 0; ago--) { // the way of the hand's middle so far
      pen.globalAlpha = .35 * (1 - ago / (TRAIL + 1));
      pen.lineWidth = 12 * (1 - ago / (TRAIL + 1));
      line([place(start + 9, frame - ago), place(start + 9, frame - ago + 1)]);
    }
    pen.lineCap = "round";
    pen.globalAlpha = 1;
  }
  const seen = Object.keys(PARTS).filter(part => Number.isFinite(place(PARTS[part][0])[0])).map(part => part.replace("_", " "));
  canvas.setAttribute("aria-label", `Stick figure, frame ${frame + 1} of ${clip.frames}; seen: ${seen.join(", ") || "nothing"}`);
}

function preview(video) {
  const canvas = element("stage");
  canvas.height = Math.round(canvas.width * video.videoHeight / video.videoWidth);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
}

function show(frame) {
  state.frame = frame;
  element("frame").value = frame;
  element("frame").setAttribute("aria-valuetext", `${frame + 1} of ${state.clip.frames}`);
  element("position").textContent = `${frame + 1}/${state.clip.frames}`;
  draw();
  recognise().catch(complain);
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
    if (frame >= clip.frames - 1) { show(clip.frames - 1); return play(false); }
    if (frame !== state.frame || frame === first) show(frame);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

function choose(clip) {
  element("trouble").hidden = true;
  play(false);
  state.clip = clip;
  element("frame").max = clip.frames - 1;
  for (const id of ["play", "frame"]) element(id).disabled = false;
  show(clip.frames - 1);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
}

// --- The page ---

function chooseOwn(name, clip) {
  const select = element("clips"), value = `own ${name}`;
  [...select.options].find(option => option.value === value)?.remove();
  select.add(new Option(name, value, true, true));
  state.own[value] = clip;
  choose(clip);
}

async function useModel(name, bytes) {
  state.model = await openModel(name, bytes);
  const { classes, size, synthetic } = state.model;
  element("model").textContent = `${state.model.name}, ${(size / 1e6).toFixed(1)} MB`;
  element("signs").textContent = classes.length > 12 ? `${classes.length}` : classes.join(", ");
  element("warning").hidden = !synthetic;
  if (state.clip) show(state.frame);
}

async function take(file) {
  if (!file || !state.model) return;
  element("trouble").hidden = true;
  const kind = file.name.split(".").at(-1).toLowerCase(), bytes = async () => new Uint8Array(await file.arrayBuffer());
  if (kind === "json") chooseOwn(file.name, await readClip(file));
  else if (kind === "onnx") await useModel(file.name, await bytes());
  else if (kind === "task") await useLandmarker(file.name, await bytes());
  else throw new Trouble(`${file.name}: not a kind of file that this page can use; it takes clips (.json), models (.onnx) and landmark models (.task).`);
}

async function useLandmarker(name, bytes) {
  element("camera").open = true;
  element("recording").textContent = "Starting MediaPipe …";
  try {
    state.camera = await import("./camera.js");
    state.landmarker = await state.camera.openLandmarker(name, bytes);
    element("record").disabled = false;
    element("recording").textContent = "Ready.";
  } catch (error) {
    element("recording").textContent = "No landmark models yet.";
    throw error;
  }
}

async function recordClip() {
  const button = element("record"), tell = text => { element("recording").textContent = text; };
  play(false);
  button.disabled = true;
  try {
    chooseOwn("my camera", { sign: "my camera", ...await state.camera.record(state.landmarker, tell, preview) });
    tell("Ready.");
  } catch (error) {
    tell("Nothing recorded.");
    draw();
    throw error;
  } finally { button.disabled = false; }
}

function listen() {
  const select = element("clips");
  select.addEventListener("change", guarded(async () => {
    const value = select.value, clip = state.own[value] ?? await bundled(state.about.clips[value]);
    if (select.value === value) choose(clip); // not if another has been chosen meanwhile
  }));
  element("play").addEventListener("click", () => play(!state.playing));
  element("frame").addEventListener("input", () => { play(false); show(Number(element("frame").value)); });
  element("file").addEventListener("change", guarded(async () => { await take(element("file").files[0]); element("file").value = ""; }));
  element("record").addEventListener("click", guarded(recordClip));
  addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("dropping"); });
  addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  addEventListener("drop", event => { event.preventDefault(); document.body.classList.remove("dropping"); guarded(take)(event.dataTransfer.files[0]); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state.clip && draw());
}

async function start() {
  listen();
  state.about = await fetched("data/demo.json", "json");
  await useModel("model.onnx", new Uint8Array(await fetched("data/model.onnx", "arrayBuffer")));
  const select = element("clips");
  select.replaceChildren(...state.about.clips.map(({ sign }, number) => new Option(sign, number)));
  select.disabled = false;
  choose(await bundled(state.about.clips[0]));
  state.ready = true;
}

start().catch(error => { element("verdict").textContent = "No model."; complain(error); });
