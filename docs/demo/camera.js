// Three seconds of the camera as a clip, read by MediaPipe's Holistic Landmarker. Loaded only when somebody opens a .task file.
import { POINTS, Trouble } from "./model.js";

const SECONDS = 3, MOST_FRAMES = 120;
const PLACES = { leftHandLandmarks: 468, poseLandmarks: 489, rightHandLandmarks: 522 }; // the face has 478 points there, not our 468: left out

export async function openLandmarker(name, bytes) {
  const vision = await import("./vendor/vision_bundle.mjs").catch(() => { throw new Trouble("MediaPipe is not part of this site; run docs/vendor_demo.sh and reload the page."); });
  const folder = new URL("./vendor/", import.meta.url).href;
  const files = { wasmLoaderPath: `${folder}vision_wasm_internal.js`, wasmBinaryPath: `${folder}vision_wasm_internal.wasm` };
  try { return await vision.HolisticLandmarker.createFromOptions(files, { baseOptions: { modelAssetBuffer: bytes, delegate: "CPU" }, runningMode: "VIDEO" }); }
  catch (error) { throw new Trouble(`${name} is no holistic_landmarker.task that MediaPipe can use: ${String(error.message ?? error).slice(0, 120)}`); }
}

// Pictures first, landmarks afterwards: reading one takes longer than the camera needs for the next.
export async function record(landmarker, tell, preview) {
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480, facingMode: "user" } }); }
  catch (error) { throw new Trouble(`The camera cannot be used (${error.name}). Allow it for this page, and close other programs that use it.`); }
  const video = document.createElement("video"), pictures = [], times = [];
  try {
    Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
    await video.play();
    await new Promise((resolve, reject) => {
      const gone = () => reject(new Trouble("The camera went away. Connect it and record again."));
      stream.getVideoTracks()[0].addEventListener("ended", gone);
      const timer = setTimeout(() => pictures.length ? resolve() : gone(), (SECONDS + 2) * 1000);
      const take = async (now) => {
        times.push(now);
        pictures.push(await createImageBitmap(video));
        preview(video);
        tell(`recording … ${((now - times[0]) / 1000).toFixed(1)} s`);
        if (now - times[0] < SECONDS * 1000 && pictures.length < MOST_FRAMES) video.requestVideoFrameCallback(take);
        else { clearTimeout(timer); resolve(); }
      };
      video.requestVideoFrameCallback(take);
    });
  } finally { stream.getTracks().forEach(track => track.stop()); }
  return { ...await read(landmarker, pictures, tell), rate: 1000 * (times.length - 1) / Math.max(times.at(-1) - times[0], 1), aspect: video.videoWidth / video.videoHeight };
}

async function read(landmarker, pictures, tell) {
  const landmarks = new Float32Array(pictures.length * POINTS * 3).fill(NaN);
  for (const [frame, picture] of pictures.entries()) {
    tell(`looking for hands: ${frame + 1} of ${pictures.length}`);
    await new Promise(resolve => setTimeout(resolve)); // let the page draw
    const found = landmarker.detectForVideo(picture, performance.now());
    picture.close();
    for (const [part, start] of Object.entries(PLACES))
      (found[part][0] ?? []).forEach(({ x, y, z }, number) => landmarks.set([x, y, z], (frame * POINTS + start + number) * 3));
  }
  return { frames: pictures.length, landmarks };
}
