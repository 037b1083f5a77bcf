// Where images come from: the camera as it runs, three seconds of it, or a video file. Each gives { image, seconds } one by one, until the signal.
import { Trouble } from "./landmarks.js";

const RECORDED_SECONDS = 3, MOST_RECORDED = 120, SILENCE = 5000;
export const MOST_SECONDS = 60; // of a video

const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));

export async function* cameraImages(signal) {
  if (!navigator.mediaDevices) throw new Trouble("A page may use the camera only if it came by https, or from this very machine (localhost).");
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 }, facingMode: "user" } })
    .catch(error => { throw new Trouble(`The camera cannot be used (${error.name}). Allow it for this page, and close other programs that use it.`); });
  const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
  const gone = new Promise((_, reject) => stream.getVideoTracks()[0].addEventListener("ended", () => reject(new Trouble("The camera went away. Connect it and start again."))));
  const stopped = new Promise(resolve => signal.addEventListener("abort", () => resolve(null)));
  gone.catch(() => {});
  try {
    await video.play();
    while (!signal.aborted) {
      const next = new Promise(resolve => video.requestVideoFrameCallback(resolve)), silent = pause(SILENCE).then(() => "silent");
      const now = await Promise.race([next, gone, stopped, silent]);
      if (now === "silent" && !document.hidden) throw new Trouble("The camera sends no images. Close other programs that use it, and start again.");
      if (Number.isFinite(now)) yield { image: video, seconds: now / 1000 };
    }
  } finally { stream.getTracks().forEach(track => track.stop()); }
}

// Images first, to be read afterwards: for whom reading one takes longer than the camera needs for the next.
export async function* recordedImages(signal, tell) {
  const taken = [];
  for await (const { image, seconds } of cameraImages(signal)) {
    taken.push({ image: await createImageBitmap(image), seconds });
    tell(image, `recording … ${(seconds - taken[0].seconds).toFixed(1)} s`);
    if (seconds - taken[0].seconds >= RECORDED_SECONDS || taken.length >= MOST_RECORDED) break;
  }
  for (const each of taken) {
    if (!signal.aborted) yield { ...each, share: taken.indexOf(each) / taken.length };
    each.image.close();
  }
}

export async function* videoImages(signal, file, rate, shorten) { // shorten(): told if there is more of it than is read
  const video = Object.assign(document.createElement("video"), { src: URL.createObjectURL(file), muted: true, playsInline: true, preload: "auto" });
  try {
    await new Promise((resolve, reject) => {
      video.addEventListener("loadeddata", resolve);
      video.addEventListener("error", () => reject(new Trouble(`${file.name} is no video that this browser can play. Save it as MP4 (H.264) or WebM.`)));
    });
    if (!video.videoWidth) throw new Trouble(`${file.name}: this browser cannot show its images (a kind of video that it does not know). Save it as MP4 (H.264) or WebM.`);
    if (!Number.isFinite(video.duration)) await seek(video, Number.MAX_SAFE_INTEGER); // as browsers' own recorders write it; then the length is known
    const end = Math.min(video.duration, MOST_SECONDS);
    if (video.duration > end) shorten();
    let before = -1;
    for (let wanted = 0; wanted < end && !signal.aborted; wanted += 1 / rate) {
      const seconds = await seek(video, wanted + 1e-3);
      if (seconds > before) yield { image: video, seconds, share: wanted / end };
      before = Math.max(before, seconds);
    }
  } finally { URL.revokeObjectURL(video.src); }
}

async function seek(video, seconds) { // the time of the image that is shown then
  const shown = new Promise(resolve => video.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime)));
  const found = new Promise(resolve => video.addEventListener("seeked", resolve, { once: true }));
  video.currentTime = seconds;
  await found;
  return Promise.race([shown, pause(200).then(() => video.currentTime)]); // a page in the background is told of no image
}
