// Signs of one's own beside those of a model: nbs/network/12_enrolment.ipynb, in the same steps. Of each recording its embedding is kept, in this browser.
import { PARTS, Trouble } from "./landmarks.js";

export const dot = (one, other) => one.reduce((sum, value, place) => sum + value * other[place], 0);
const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;
const hands = [PARTS.left_hand, PARTS.right_hand];

export function handSeen(frames) { // in some frame, a point of a hand
  return frames.some(({ frame }) => hands.some(([first, stop]) => {
    for (let number = first; number < stop; number++) if (Number.isFinite(frame[3 * number]) && Number.isFinite(frame[3 * number + 1])) return true;
    return false;
  }));
}

export function imprint({ centre, winning, resting }, embeddings) { // weights and bias of the logit of a new sign
  const away = embeddings.map(each => each.map((value, place) => value - centre[place])), middle = centre.map((_, place) => mean(away.map(each => each[place])));
  const length = Math.hypot(...middle), direction = middle.map(value => value / length), distance = mean(away.map(each => dot(each, direction)));
  if (!(distance > 1e-3)) throw new Trouble("The recordings are like no sign at all; record them again.");
  const weight = direction.map(value => (winning - resting) / distance * value);
  return { weight, bias: resting - dot(weight, centre) };
}

export class OwnSigns { // of one model; its answers know them from then on
  constructor(model, storage) { // storage: localStorage, or null where the browser has none for this page
    Object.assign(this, { model, storage, place: `asl_nb signs of ${model.name} ${model.statistics?.winning}`, recordings: {} });
    if (model.statistics) this.recall();
  }

  get possible() { return Boolean(this.model.statistics); }

  get counts() { return Object.entries(this.recordings).map(([sign, embeddings]) => ({ sign, count: embeddings.length })); }

  recall() { // what was kept, as far as it is whole
    const size = this.model.statistics.centre.length, whole = each => Array.isArray(each) && each.length === size && each.every(Number.isFinite);
    const usable = ([sign, embeddings]) => !this.model.classes.includes(sign) && Array.isArray(embeddings) && embeddings.length && embeddings.every(whole);
    try {
      this.recordings = Object.fromEntries(Object.entries(JSON.parse(this.storage?.getItem(this.place) ?? "{}")).filter(usable));
      this.renew();
    } catch { this.recordings = {}; }
  }

  renew() { this.model.added = Object.entries(this.recordings).map(([sign, embeddings]) => ({ sign, ...imprint(this.model.statistics, embeddings) })); }

  change(recordings) { // all or nothing; whether it is kept when the page is closed
    const before = this.recordings;
    this.recordings = recordings;
    try { this.renew(); } catch (error) { this.recordings = before; throw error; }
    try { this.storage.setItem(this.place, JSON.stringify(recordings)); } catch { return false; }
    return true;
  }

  async teach(name, frames) { // frames of one recording
    const sign = name.trim().normalize("NFC");
    if (!sign) throw new Trouble("Give the sign a name.");
    if (this.model.classes.includes(sign)) throw new Trouble(`${sign} is known already; choose another name.`);
    if (!handSeen(frames)) throw new Trouble("No hand is seen in this recording; record it again.");
    const { embedding } = await this.model.ask(frames);
    return this.change({ ...this.recordings, [sign]: [...this.recordings[sign] ?? [], embedding.map(value => Number(value.toPrecision(6)))] });
  }

  forget(sign) {
    const { [sign]: _, ...others } = this.recordings;
    return this.change(others);
  }
}
