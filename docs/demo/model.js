// An exported model: its metadata, and its answers. See nbs/90_export.ipynb, which writes both.
import { dot } from "./enrolment.js";
import { joined, POINTS, Trouble } from "./landmarks.js";
import * as ort from "./vendor/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
ort.env.wasm.numThreads = 1;

const SPREAD = 2; // temperature at which the familiarity is measured, see nbs/evaluation/00_prediction.ipynb

// The pairs of texts in field 14 of the outermost protobuf message of an ONNX file (ModelProto.metadata_props).
export function readMetadata(bytes) {
  const text = new TextDecoder();
  function* fields(at, end) { // [number, start, stop] of every field with a length
    const number = () => {
      for (let value = 0, unit = 1; at < end; unit *= 128) {
        const byte = bytes[at++];
        value += (byte & 127) * unit;
        if (byte < 128) return value;
      }
      throw new RangeError("cut short");
    };
    while (at < end) {
      const tag = number(), kind = tag % 8;
      if (kind === 2) {
        const length = number();
        if (at + length > end) throw new RangeError("cut short");
        yield [Math.floor(tag / 8), at, at + length];
        at += length;
      } else if (kind === 0) number();
      else if (kind === 1 || kind === 5) at += kind === 1 ? 8 : 4;
      else throw new RangeError("no protobuf");
    }
  }
  const metadata = {};
  for (const [number, start, stop] of fields(0, bytes.length)) {
    if (number !== 14) continue;
    const pair = {};
    for (const [part, first, last] of fields(start, stop)) pair[part] = text.decode(bytes.subarray(first, last));
    metadata[pair[1]] = pair[2];
  }
  return metadata;
}

export async function openModel(name, bytes) {
  const cure = "Export the model again with asl-nb export.";
  let metadata;
  try { metadata = readMetadata(bytes); }
  catch { throw new Trouble(`${name} is no ONNX file, or cut short. ${cure}`); }
  if (metadata.format !== "asl_nb onnx 1") throw new Trouble(`${name} is ${metadata.format ? `of another version (${metadata.format})` : "not a model of asl_nb, or cut short"}. ${cure}`);
  if (metadata.landmark_count !== String(POINTS)) throw new Trouble(`${name} was made for ${metadata.landmark_count} landmarks; here are ${POINTS}. ${cure}`);
  let session; // errors only: the input aspect, which may be left out, would be warned about
  try { session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 }); }
  catch (error) { throw new Trouble(`${name} cannot be opened: ${String(error.message ?? error).slice(0, 120)}. ${cure}`); }
  const classes = JSON.parse(metadata.classes), temperature = Number(metadata.temperature);
  const threshold = JSON.parse(metadata.known_threshold ?? "null"); // of the familiarity; null: every sign counts as known
  const statistics = session.outputNames.includes("embeddings") ? JSON.parse(metadata.embedding_statistics ?? "null") : null; // null: it cannot be taught

  async function ask(clip) { // [{ frame }] in the standard picture
    const frames = clip.length, inputs = { landmarks: new ort.Tensor("float32", joined(clip), [1, frames, POINTS, 3]),
                                           lengths: new ort.Tensor("int64", BigInt64Array.from([BigInt(frames)]), [1]) };
    const began = performance.now();
    const { logits, embeddings } = await session.run(inputs), embedding = Array.from(embeddings?.data ?? []);
    const milliseconds = performance.now() - began, scores = [...logits.data, ...model.added.map(({ weight, bias }) => dot(weight, embedding) + bias)], highest = Math.max(...scores);
    const signs = [...classes, ...model.added.map(each => each.sign)];
    const weights = scores.map(score => Math.exp((score - highest) / temperature)), sum = weights.reduce((total, weight) => total + weight, 0);
    const guesses = weights.map((weight, number) => ({ sign: signs[number], share: weight / sum })).sort((one, other) => other.share - one.share);
    const spread = scores.map(score => Math.exp((score - highest) / SPREAD)), total = spread.reduce((all, each) => all + each, 0);
    const entropy = Math.log(total) - spread.reduce((all, each, number) => all + each * (scores[number] - highest) / SPREAD, 0) / total;
    const familiarity = 1 - entropy / Math.log(scores.length); // as `familiarity` of the package
    const known = threshold === null || familiarity >= threshold;
    return { logits: scores, embedding, guesses: guesses.slice(0, 5), known, milliseconds, frames };
  }
  const model = { name: metadata.manifest || name, classes, statistics, added: [], size: bytes.length, synthetic: metadata.data_kind === "synthetic", mostFrames: Number(metadata.max_len), ask };
  await ask(Array(16).fill({ frame: new Float32Array(POINTS * 3).fill(NaN) })); // the first answer takes longer than all others
  return model; // `added`: signs of one's own, see enrolment.js
}
