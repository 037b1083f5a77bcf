// Diagrams as wide as the column, but never so small that their words cannot be read.
new MutationObserver(() => document.querySelectorAll("pre.mermaid > svg:not([data-sized])").forEach(svg => {
  const width = svg.viewBox.baseVal.width;
  if (!width) return;
  svg.dataset.sized = 1;
  svg.style.setProperty("max-width", `min(100%, ${width}px)`, "important");
  svg.style.setProperty("width", "100%", "important");
  svg.style.setProperty("min-width", `${Math.round(.6*width)}px`, "important");
})).observe(document, {subtree: true, childList: true});

const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

// The figure on the front page.
async function perform(canvas) {
  const {grid, edges, clips} = await (await fetch("_static/signer.json")).json();
  const pen = canvas.getContext("2d"), button = document.getElementById("signer-button"), name = document.getElementById("signer-name");
  let which = 0, start = null, playing = !still;
  function draw(frame) {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.strokeStyle = getComputedStyle(canvas).color;
    pen.lineWidth = 2.2;
    pen.lineCap = "round";
    pen.beginPath();
    for (const [a, b] of edges) {
      if (!frame[a] || !frame[b]) continue;
      pen.moveTo(frame[a][0]/grid*canvas.width, frame[a][1]/grid*canvas.height);
      pen.lineTo(frame[b][0]/grid*canvas.width, frame[b][1]/grid*canvas.height);
    }
    pen.stroke();
  }
  function step(now) {
    const clip = clips[which], rest = .6*clip.frames_per_second;
    start ??= now;
    const t = Math.floor((now - start)/1000*clip.frames_per_second);
    name.textContent = clip.sign;
    draw(clip.frames[Math.min(t, clip.frames.length - 1)]);
    if (t > clip.frames.length + rest) { which = (which + 1) % clips.length; start = null; }
    if (playing) requestAnimationFrame(step);
  }
  function show() {
    button.textContent = playing ? "pause" : "play";
    if (playing) { start = null; requestAnimationFrame(step); }
  }
  button.onclick = () => { playing = !playing; show(); };
  name.textContent = clips[0].sign;
  draw(clips[0].frames[clips[0].frames.length >> 1]);
  show();
}

// A stored animation becomes a player: stop it, go through its frames. Where a browser cannot take it apart, it just plays.
async function control(image) {
  const response = await fetch(image.src);
  const decoder = new ImageDecoder({data: response.body, type: "image/gif"});
  await decoder.completed;
  const count = decoder.tracks.selectedTrack.frameCount;
  if (count < 2) return;
  const canvas = Object.assign(document.createElement("canvas"), {width: image.naturalWidth, height: image.naturalHeight});
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", image.alt);
  const button = Object.assign(document.createElement("button"), {type: "button"});
  const slider = Object.assign(document.createElement("input"), {type: "range", min: 0, max: count - 1, value: 0, ariaLabel: "frame"});
  const panel = Object.assign(document.createElement("span"), {className: "player"});
  let playing = !still, timer;
  async function show(frame) {
    const {image: picture} = await decoder.decode({frameIndex: frame});
    canvas.getContext("2d").drawImage(picture, 0, 0);
    const wait = picture.duration/1000;
    picture.close();
    clearTimeout(timer);
    if (playing) timer = setTimeout(() => { slider.value = (+slider.value + 1) % count; show(+slider.value); }, wait);
  }
  const play = on => { playing = on; button.textContent = on ? "pause" : "play"; show(+slider.value); };
  button.onclick = () => play(!playing);
  slider.oninput = () => play(false);
  panel.append(canvas, button, slider);
  image.replaceWith(panel);
  play(playing);
}

document.addEventListener("DOMContentLoaded", () => {
  const canvas = document.getElementById("signer");
  if (canvas) perform(canvas);
  if ("ImageDecoder" in window) document.querySelectorAll('article img[src$=".gif"]').forEach(image => {
    const begin = () => control(image).catch(() => {});  // the animation stays as it was
    if (image.complete && image.naturalWidth) begin(); else image.addEventListener("load", begin, {once: true});
  });
});
