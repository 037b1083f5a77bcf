// The page: camera, videos and clips go in, the exported model says what they are. What it needs lies beside it; see build.py.
import { OwnSigns } from "./enrolment.js";
import { ASPECT, changeAspect, PARTS, POINTS, Trouble } from "./landmarks.js";
import { openModel } from "./model.js";
import { Recognizer } from "./recognizer.js";
import { LearnedSpotter } from "./spotter.js";

const MOST_FRAMES = 3000, TRAIL = 14, LONGEST_SIDE = 640, GUESS_EVERY = .3, FEW_IMAGES = 8;
const element = id => document.getElementById(id), percent = share => `${(100 * share).toFixed(1)} %`;
const state = { about: null, model: null, taught: null, weights: null, landmarker: null, watching: null, clip: null, own: {}, frame: 0, playing: false, asked: 0, answered: 0, busy: false };
window.demo = state; // what the tests look at and call

function complain(error) {
  element("trouble").textContent = error instanceof Trouble ? error.message : `Something went wrong: ${error.message ?? error}`;
  element("trouble").hidden = false;
  element("trouble").scrollIntoView({ block: "nearest" }); // on a phone it may be far above what was touched
}

const guarded = action => (...values) => Promise.resolve().then(() => action(...values)).catch(complain);
const tell = text => { element("status").textContent = text; };

async function fetched(path, kind) {
  const answer = await fetch(path).catch(() => null);
  if (!answer?.ok) throw new Trouble(`${path} cannot be loaded. Build the page with docs/vendor_demo.sh and docs/demo/build.py, and open it through a web server.`);
  return answer[kind]();
}

// --- Clips: { sign, rate, aspect, frames: [{ frame, seconds }], began, signs }: frames in the standard picture, aspect that of its own images,
// --- signs what a recogniser found in it; none: the whole clip is one sign ---

function asClip(sign, rate, landmarks) {
  const size = POINTS * 3, frames = Array.from({ length: landmarks.length / size }, (_, number) => ({ frame: landmarks.subarray(number * size, (number + 1) * size), seconds: number / rate }));
  return { sign, rate, aspect: ASPECT, frames, began: 0 };
}

async function bundled({ sign, file, frames, frames_per_second, stream }) {
  const landmarks = new Float32Array(await fetched(`data/${file}`, "arrayBuffer"));
  if (landmarks.length !== frames * POINTS * 3) throw new Trouble(`data/${file} has the wrong length; run docs/demo/build.py again.`);
  const clip = asClip(sign, frames_per_second, landmarks);
  return stream ? { ...clip, signs: await signsIn(clip) } : clip;
}

async function signsIn({ frames }) {
  const recognizer = newRecognizer(), events = [];
  for (const { frame, seconds } of frames) events.push(...await recognizer.next(frame, seconds, ASPECT));
  return [...events, ...await recognizer.finish()].filter(each => each.kind === "end");
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
  return asClip(file.name, rate > 0 && rate <= 240 ? rate : 30, landmarks);
}

// The frames about which the model is asked: those of the sign that was found here, or the whole clip. Null: here is no sign.
function part({ frames, signs }, frame) {
  if (!signs) return [0, frames.length];
  const { seconds } = frames[frame], sign = signs.find(each => each.from <= seconds && seconds <= each.to);
  return sign ? [frames.findIndex(each => each.seconds >= sign.from), frames.findLastIndex(each => each.seconds <= sign.to) + 1] : null;
}

// --- Asking the model about the frames up to the present one ---

async function recognise() {
  state.asked += 1;
  if (state.busy) return; // one question at a time; the latest is asked next
  state.busy = true;
  try {
    while (state.answered < state.asked) {
      const question = state.asked, { model, clip, frame } = state, [first, stop] = part(clip, frame) ?? [];
      state.answer = stop ? await model.ask(clip.frames.slice(first, frame + 1)) : null;
      if (state.answer) report(state.answer, stop - first);
      else say("no sign here", clip.signs.length ? "choose one of those found" : "nobody signs in this clip, or not long enough");
      state.answered = question;
    }
  } finally { state.busy = false; }
}

function report({ guesses, known, milliseconds, frames }, all) {
  const probable = guesses[0].share >= state.about.segmentation.min_confidence, enough = known && probable, thinned = frames > state.model.mostFrames ? `, thinned to ${state.model.mostFrames}` : "";
  say(enough ? guesses[0].sign : "unknown", `${percent(guesses[0].share)} ${frames === all ? `after all ${frames} frames` : `after ${frames} of ${all} frames`}${thinned}`
    + (enough ? "" : known ? `: ${guesses[0].sign} is not probable enough` : `: a sign that the model does not know; the nearest is ${guesses[0].sign}`), guesses);
  element("latency").textContent = `${milliseconds.toFixed(1)} ms`;
}

function say(verdict, seen, guesses = []) {
  element("verdict").textContent = element("caption").textContent = verdict;
  element("caption").hidden = !state.watching || verdict === "–"; // the same again on the image, for small screens
  element("seen").textContent = seen;
  element("guesses").replaceChildren(...guesses.map(({ sign, share }) => {
    const row = document.createElement("li"), bar = document.createElement("div"), name = document.createElement("span"), value = document.createElement("span");
    [name.textContent, value.textContent, value.className, bar.className] = [sign, percent(share), "share", "bar"];
    bar.setAttribute("aria-hidden", "true");
    bar.append(document.createElement("span"));
    bar.firstChild.style.width = `${100 * share}%`;
    row.append(name, value, bar);
    return row;
  }));
}

const named = ({ sign, unknown }) => sign ?? (unknown ? "unknown" : "–");

function listSigns(clip) { // the newest first; each can be played
  const signs = (clip.signs ?? []).filter(each => each.guesses.length).reverse();
  element("found").hidden = !clip.signs;
  element("found-list").replaceChildren(...signs.length ? [] : [Object.assign(document.createElement("li"), { textContent: "none" })], ...signs.map(each => {
    const row = document.createElement("li"), button = document.createElement("button"), gone = each.to < clip.frames[0].seconds;
    Object.assign(button, { type: "button", disabled: Boolean(state.watching) || gone });
    button.append(...[`${(each.start - clip.began).toFixed(1)} s`, named(each), each.sign ? percent(each.guesses[0].share) : each.why].map(text => Object.assign(document.createElement("span"), { textContent: text })));
    button.addEventListener("click", () => playSign(each));
    row.append(button);
    return row;
  }));
}

// --- Signs of one's own: see enrolment.js ---

async function teach() { // the sign that is shown, or the whole clip
  const [first, stop] = part(state.clip, state.frame) ?? [], name = element("own-sign");
  element("kept").textContent = "";
  if (!stop) throw new Trouble("Here is no sign; choose one of those found, or another clip.");
  const kept = await state.taught.teach(name.value, state.clip.frames.slice(first, stop));
  element("kept").textContent = kept ? "Kept in this browser." : "This browser keeps nothing for this page, so the sign is forgotten when it is closed.";
  await taughtAnew();
}

async function taughtAnew() { // the model has other signs: list them, and ask again about the clip that is shown
  element("trouble").hidden = true;
  listModelSigns();
  const { clip } = state;
  if (clip?.signs) { clip.signs = await signsIn(clip); listSigns(clip); }
  if (clip && clip === state.clip) show(state.frame);
}

function listModelSigns() {
  const { classes, added } = state.model, { counts, possible } = state.taught;
  element("sign-count").textContent = `${classes.length + added.length} signs`;
  element("signs").textContent = [...classes, ...counts.map(each => each.sign)].map(sign => sign.replaceAll("_", " ")).join(", ");
  element("teach").hidden = !possible;
  element("own-signs").replaceChildren(...counts.map(({ sign, count }) => {
    const row = document.createElement("li"), button = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: "Forget" });
    button.setAttribute("aria-label", `Forget ${sign}`);
    button.addEventListener("click", guarded(() => { state.taught.forget(sign); element("kept").textContent = `${sign} is forgotten.`; return taughtAnew(); }));
    row.append(...[sign, count === 1 ? "1 recording" : `${count} recordings`].map(text => Object.assign(document.createElement("span"), { textContent: text })), button);
    return row;
  }));
}

// --- Drawing ---

function draw() {
  const { clip, frame } = state, canvas = element("stage");
  canvas.height = Math.round(canvas.width / clip.aspect);
  const seen = drawBody(canvas, clip.frames.slice(Math.max(frame - TRAIL, 0), frame + 1), clip.aspect);
  canvas.setAttribute("aria-label", `Stick figure, frame ${frame + 1} of ${clip.frames.length}; seen: ${seen.join(", ") || "nothing"}`);
}

function drawBody(canvas, frames, aspect) { // the last of these frames, and the way of the hands in those before; the names of what was seen
  const pen = canvas.getContext("2d"), now = frames.length - 1, turned = frames.map(({ frame }) => changeAspect(frame, ASPECT, aspect));
  const style = getComputedStyle(document.documentElement), colour = part => style.getPropertyValue(`--${part}`).trim();
  const place = (number, when = now) => [0, 1].map(axis => turned[when][3 * number + axis] * (axis ? canvas.height : canvas.width));
  const line = points => { // leaves out what was not seen
    pen.beginPath();
    points.forEach((point, number) => {
      if (point.every(Number.isFinite)) pen[number && points[number - 1].every(Number.isFinite) ? "lineTo" : "moveTo"](...point);
    });
    pen.stroke();
  };
  pen.lineCap = pen.lineJoin = "round";
  for (const [part, edges] of Object.entries(state.about.edges)) {
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
    for (let ago = now; ago > 0; ago--) { // the way of the hand's middle so far
      pen.globalAlpha = .35 * (1 - ago / (TRAIL + 1));
      pen.lineWidth = 12 * (1 - ago / (TRAIL + 1));
      line([place(start + 9, now - ago), place(start + 9, now - ago + 1)]);
    }
    pen.lineCap = "round";
    pen.globalAlpha = 1;
  }
  return Object.keys(PARTS).filter(part => Number.isFinite(place(PARTS[part][0])[0])).map(part => part.replace("_", " "));
}

function preview(image) {
  const canvas = element("stage"), width = image.videoWidth ?? image.width, height = image.videoHeight ?? image.height;
  canvas.height = Math.round(canvas.width * height / width);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return width / height;
}

function show(frame) {
  state.frame = frame;
  element("frame").value = frame;
  element("frame").setAttribute("aria-valuetext", `${frame + 1} of ${state.clip.frames.length}`);
  element("position").textContent = `${frame + 1}/${state.clip.frames.length}`;
  draw();
  recognise().catch(complain);
}

function play(playing, last = state.clip?.frames.length - 1) { // up to the frame `last`
  state.playing = playing;
  element("play").textContent = playing ? "Pause" : "Play";
  if (!playing) return;
  const first = state.frame >= last ? 0 : state.frame, clip = state.clip;
  let began;
  const step = now => {
    if (!state.playing || state.clip !== clip) return;
    began ??= now;
    const frame = first + Math.floor((now - began) / 1000 * clip.rate);
    if (frame >= last) { show(last); return play(false); }
    if (frame !== state.frame || frame === first) show(frame);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

function playSign({ from, to }) {
  const middle = state.clip.frames.findLastIndex(({ seconds }) => seconds <= (from + to) / 2), [first, stop] = part(state.clip, middle);
  play(false);
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return show(stop - 1);
  show(first);
  play(true, stop - 1);
}

function choose(clip) {
  element("trouble").hidden = true;
  play(false);
  state.clip = clip;
  element("frame").max = clip.frames.length - 1;
  for (const id of ["play", "frame"]) element(id).disabled = false;
  listSigns(clip);
  const first = clip.signs?.find(each => each.guesses.length);
  if (first) return playSign(first);
  show(clip.frames.length - 1);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
}

// --- Camera and videos ---

state.newRecognizer = newRecognizer;

function newRecognizer(keep) {
  const { spotter, segmentation, frames_per_second: rate } = state.about;
  return new Recognizer(state.model, new LearnedSpotter({ ...spotter, rate }, state.weights), segmentation, rate, keep);
}

async function openLandmarker() {
  if (state.landmarker) return state.landmarker.reset();
  tell("Loading MediaPipe’s models (30 MB, once) …");
  const { openHolistic } = await import("./landmarker.js");
  state.landmarker = await openHolistic();
}

function shrunk(image, canvas) { // what MediaPipe reads; it sees no more in a larger image
  const width = image.videoWidth ?? image.width, height = image.videoHeight ?? image.height, scale = Math.min(1, LONGEST_SIDE / Math.max(width, height));
  Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

// Everything the recogniser is shown becomes a clip that can be played afterwards, with the signs found in it. Nothing else is kept.
async function watch(sign, mirrored, open) {
  const stop = new AbortController(), clip = { sign, rate: state.about.frames_per_second, aspect: ASPECT, frames: [], signs: [], began: 0 };
  play(false);
  element("trouble").hidden = true;
  begin(stop, mirrored);
  listSigns(clip);
  try {
    const recognizer = newRecognizer((frame, seconds) => {
      if (!clip.frames.length) clip.began = seconds;
      clip.frames = [...clip.frames.slice(1 - MOST_FRAMES), { frame, seconds }];
    });
    try { await readImages(await open(stop.signal), recognizer, clip); }
    finally { clip.signs.push(...(await recognizer.finish()).filter(each => each.kind === "end")); }
  } finally {
    finish();
    if (clip.frames.length) chooseOwn(sign, clip);
    else if (state.clip) choose(state.clip);
  }
}

async function readImages(images, recognizer, clip) {
  const canvas = document.createElement("canvas"), read = []; // when the last images had been read
  let asked = 0;
  for await (const { image, seconds, share } of images) { // the camera is asked for first, MediaPipe is loaded when there is an image for it
    if (!read.length) {
      preview(image);
      await openLandmarker();
    }
    const found = await state.landmarker.read(shrunk(image, canvas));
    clip.aspect = preview(canvas); // what was read; the camera has gone on meanwhile
    const events = await recognizer.next(found, seconds, clip.aspect);
    if (clip.frames.length) drawBody(element("stage"), clip.frames.slice(-TRAIL - 1), clip.aspect);
    events.forEach(event => hear(event, clip));
    read.push(performance.now());
    if (read.length > 20) read.shift();
    const rate = 1000 * (read.length - 1) / (read.at(-1) - read[0]) || 0, few = read.length === 20 && rate < FEW_IMAGES;
    if (share === undefined) tell(`${rate.toFixed(rate < 10 ? 1 : 0)} images per second${few ? ": too few to follow quick signs. Record 3 seconds instead; they are read afterwards." : ""}`);
    else tell(`looking for hands: ${(100 * share).toFixed(0)} %`);
    if (recognizer.signing && seconds - asked > GUESS_EVERY) {
      asked = seconds;
      const guesses = await recognizer.guess();
      say(`${guesses[0].sign}?`, "signing …", guesses);
    }
    await new Promise(resolve => setTimeout(resolve)); // let the page draw
  }
}

function hear(event, clip) {
  if (event.kind === "start") say("…", "signing …");
  if (event.kind === "idle") say("–", event.why);
  if (event.kind !== "end") return;
  clip.signs.push(event);
  if (event.guesses.length) say(named(event), event.sign ? percent(event.guesses[0].share) : event.why, event.guesses);
  else element("seen").textContent = event.why; // and the sign before stays in sight
  listSigns(clip);
}

function begin(stop, mirrored) {
  state.watching = stop;
  for (const id of ["camera", "record", "file", "clips", "play", "frame", "teach-it"]) element(id).disabled = true;
  element("stop").hidden = false;
  document.body.classList.add("watching");
  element("stage").classList.toggle("mirrored", mirrored);
  element("stage").setAttribute("aria-label", "What the camera or the video shows, with the landmarks found in it");
  say("–", "nothing yet");
}

function finish() {
  state.watching = null;
  for (const id of ["camera", "record", "file", "clips", "teach-it"]) element(id).disabled = false;
  for (const id of ["stop", "caption"]) element(id).hidden = true;
  document.body.classList.remove("watching");
  element("stage").classList.remove("mirrored");
  tell("");
}

const camera = () => import("./camera.js");
const watchCamera = () => watch("my camera", true, async signal => (await camera()).cameraImages(signal));
const recordCamera = () => watch("my recording", true, async signal => (await camera()).recordedImages(signal, (image, text) => { preview(image); tell(text); }));

async function watchVideo(file) {
  const { videoImages, MOST_SECONDS } = await camera();
  let longer = false;
  await watch(file.name, false, signal => videoImages(signal, file, state.about.frames_per_second, () => { longer = true; }));
  if (longer) tell(`These are the first ${MOST_SECONDS} s of ${file.name}; the rest was not read.`);
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
  const { size, synthetic } = state.model;
  let storage = null;
  try { storage = localStorage; } catch { /* forbidden here: signs of one's own live as long as the page */ }
  state.taught = new OwnSigns(state.model, storage);
  element("model").textContent = `${name}, ${(size / 1e6).toFixed(1)} MB`;
  listModelSigns();
  element("warning").hidden = !synthetic;
  element("origin").textContent = ""; // known of the page's own model only
  if (state.clip) show(state.frame);
}

async function take(file) {
  if (!file || !state.model || state.watching) return;
  element("trouble").hidden = true;
  const kind = file.name.split(".").at(-1).toLowerCase(), bytes = async () => new Uint8Array(await file.arrayBuffer());
  if (kind === "json") chooseOwn(file.name, await readClip(file));
  else if (kind === "onnx") await useModel(file.name, await bytes());
  else if (kind === "task") await useTask(file.name, await bytes());
  else if (file.type.startsWith("video/") || ["mp4", "m4v", "mov", "webm", "mkv"].includes(kind)) await watchVideo(file);
  else throw new Trouble(`${file.name}: not a kind of file that this page can use; it takes videos, clips (.json), models (.onnx) and landmark models (.task).`);
}

async function useTask(name, bytes) {
  tell("Starting MediaPipe …");
  try {
    state.landmarker = await (await import("./landmarker.js")).openTask(name, bytes);
    tell(`${name} finds the landmarks from now on.`);
  } catch (error) { tell(""); throw error; }
}

function listen() {
  const select = element("clips");
  select.addEventListener("change", guarded(async () => {
    const value = select.value, clip = state.own[value] ?? await bundled(state.about.clips[value]);
    if (select.value === value) choose(clip); // not if another has been chosen meanwhile
  }));
  element("play").addEventListener("click", () => play(!state.playing));
  element("frame").addEventListener("input", () => { play(false); show(Number(element("frame").value)); });
  element("file").addEventListener("change", guarded(async () => { const [file] = element("file").files; try { await take(file); } finally { element("file").value = ""; } }));
  element("camera").addEventListener("click", guarded(watchCamera));
  element("record").addEventListener("click", guarded(recordCamera));
  element("stop").addEventListener("click", () => state.watching?.abort());
  element("teach").addEventListener("submit", event => { event.preventDefault(); guarded(teach)(); });
  addEventListener("dragover", event => { event.preventDefault(); document.body.classList.add("dropping"); });
  addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  addEventListener("drop", event => { event.preventDefault(); document.body.classList.remove("dropping"); guarded(take)(event.dataTransfer.files[0]); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state.clip && !state.watching && draw());
}

async function start() {
  listen();
  const about = state.about = await fetched("data/demo.json", "json");
  state.weights = new Float32Array(await fetched("data/spotter.f32", "arrayBuffer"));
  await useModel(about.model, new Uint8Array(await fetched("data/model.onnx", "arrayBuffer")));
  element("origin").textContent = about.origin;
  const select = element("clips");
  select.replaceChildren(...about.clips.map(({ sign }, number) => new Option(sign, number)));
  for (const id of ["clips", "camera", "record", "teach-it"]) element(id).disabled = false;
  choose(await bundled(about.clips[0]));
  state.ready = true;
}

start().catch(error => { element("verdict").textContent = "No model."; complain(error); });
