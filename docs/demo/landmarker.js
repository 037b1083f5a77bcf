// MediaPipe: from an image to the 543 landmarks of a frame. Loaded only when a camera or a video is used.
import { PARTS, POINTS, Trouble } from "./landmarks.js";

const VENDOR = new URL("./vendor/", import.meta.url).href;
const MISSING = "MediaPipe is not part of this site; run docs/vendor_demo.sh and reload the page.";
const LISTS = { face: "faceLandmarks", left_hand: "leftHandLandmarks", pose: "poseLandmarks", right_hand: "rightHandLandmarks" };

function asFrame(found) { // lists of { x, y, z } by the name of the part
  const frame = new Float32Array(POINTS * 3).fill(NaN);
  for (const [part, [start, stop]] of Object.entries(PARTS)) {
    const points = found[LISTS[part]] ?? [];
    if (points.length === stop - start) points.forEach(({ x, y, z }, number) => frame.set([x, y, z], (start + number) * 3));
  }
  return frame;
}

// A graphics processor that is only imitated takes twenty times as long as plain WebAssembly: seconds for each image.
function imitatedGraphics() {
  const pen = document.createElement("canvas").getContext("webgl2");
  if (!pen) throw new Trouble("MediaPipe needs WebGL 2, which this browser lacks or has switched off.");
  const about = pen.getExtension("WEBGL_debug_renderer_info"), name = pen.getParameter(about ? about.UNMASKED_RENDERER_WEBGL : pen.RENDERER);
  pen.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

// The models of MediaPipe's package for Python, of which the training clips were made too: @mediapipe/holistic holds them.
export async function openHolistic() {
  const onProcessor = imitatedGraphics() ? { useCpuInference: true } : {};
  await new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: `${VENDOR}holistic.js`, onload: resolve, onerror: () => reject(new Trouble(MISSING)) });
    document.head.append(script);
  });
  const holistic = new window.Holistic({ locateFile: file => VENDOR + file });
  holistic.setOptions({ modelComplexity: 1, ...onProcessor });
  let found;
  holistic.onResults(results => { found = results; });
  try { await holistic.initialize(); }
  catch (error) { throw new Trouble(`MediaPipe does not start: ${String(error.message ?? error).slice(0, 120)}. Reload the page, or try another browser.`); }
  return {
    reset: () => holistic.reset(), // the next image has nothing to do with the one before
    async read(image) {
      try { await holistic.send({ image }); }
      catch (error) { throw new Trouble(`MediaPipe stopped: ${String(error.message ?? error).slice(0, 120)}. Reload the page.`); }
      return asFrame(found);
    },
  };
}

// A holistic_landmarker.task, for those who have one. Its face has 478 points, not our 468, and is left out.
export async function openTask(name, bytes) {
  const vision = await import("./vendor/vision_bundle.mjs").catch(() => { throw new Trouble(MISSING); });
  const files = { wasmLoaderPath: `${VENDOR}vision_wasm_internal.js`, wasmBinaryPath: `${VENDOR}vision_wasm_internal.wasm` };
  let landmarker;
  try { landmarker = await vision.HolisticLandmarker.createFromOptions(files, { baseOptions: { modelAssetBuffer: bytes, delegate: "CPU" }, runningMode: "VIDEO" }); }
  catch (error) { throw new Trouble(`${name} is no holistic_landmarker.task that MediaPipe can use: ${String(error.message ?? error).slice(0, 120)}`); }
  return {
    reset() {},
    async read(image) {
      const found = landmarker.detectForVideo(image, performance.now());
      return asFrame(Object.fromEntries(Object.entries(found).map(([list, [points]]) => [list, points])));
    },
  };
}
