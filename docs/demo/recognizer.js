// From frames with times to events: nbs/live/02_recognizer.ipynb and FrameResampler of nbs/data/02_resampling.ipynb, in the same steps.
// A sign that has ended has a name, or none and the reason why. A model that says by itself whether it knows a sign is to be asked in `end`, too.
import { changeAspect, PARTS } from "./landmarks.js";

const EVEN = .1, WATCHED = [PARTS.pose[0] + 11, PARTS.left_hand[0], PARTS.right_hand[0]]; // left shoulder and both wrists: somebody is there

class FrameThinner {
  constructor(rate) { Object.assign(this, { rate, tick: 0, last: 0 }); }

  next(seconds) { // keep it?
    const half = Math.min((seconds - this.last) / 2, .5 / this.rate), reach = seconds + half + 1e-6;
    this.last = seconds;
    if (reach < this.tick) return false;
    this.tick = (Math.floor(reach * this.rate) + 1) / this.rate;
    return true;
  }
}

class FrameResampler {
  constructor(rate, longestGap) { Object.assign(this, { rate, longestGap, last: null }); }

  begin(frame, seconds) {
    Object.assign(this, { thinner: new FrameThinner(this.rate), origin: seconds, first: seconds, ticks: 0, last: { seconds, frame } });
    this.thinner.next(0);
    return [this.last];
  }

  next(frame, seconds) { // frames at an even rate, and the seconds of the gap, if the stream broke before them
    if (!this.last) return { frames: this.begin(frame, seconds) };
    const step = seconds - this.last.seconds;
    if (Math.abs(step) > this.longestGap) return { frames: this.begin(frame, seconds), gap: step };
    if (step <= 0 || !this.thinner.next(seconds - this.origin)) return { frames: [] };
    const before = this.last;
    this.last = { seconds, frame };
    if (this.first === before.seconds && Math.abs(step * this.rate - 1) < EVEN) { // even so far
      this.first = seconds;
      return { frames: [this.last] };
    }
    const frames = [];
    for (let time; (time = this.first + (this.ticks + 1) / this.rate) <= seconds + 1e-6; this.ticks++)
      frames.push({ seconds: time, frame: between(before.frame, frame, (time - before.seconds) / step) });
    return { frames };
  }
}

function between(before, after, share) {
  const nearer = share < .5 ? before : after;
  return before.map((value, number) => { const mixed = value * (1 - share) + after[number] * share; return Number.isNaN(mixed) ? nearer[number] : mixed; });
}

class Segmenter {
  constructor(config) { this.config = config; this.reset(); }

  reset() { Object.assign(this, { start: null, last: 0, run: 0 }); } // the sign in progress; signing frames in a row, outside a sign

  next(place, probability) { // "start" if a sign has begun, "end" if it is over
    const signing = probability >= this.config.threshold;
    if (this.start === null) {
      this.run = signing ? this.run + 1 : 0;
      if (this.run < this.config.start_frames) return "";
      [this.start, this.last] = [place + 1 - this.config.start_frames, place];
      return "start";
    }
    if (signing) this.last = place;
    return place - this.last >= this.config.end_frames ? "end" : "";
  }
}

class IdleWatch {
  constructor(after) { this.after = after; this.reset(); }

  reset() { Object.assign(this, { since: null, seen: -Infinity }); } // nothing has happened since; a person was seen last

  look(frame, seconds) {
    this.since ??= seconds;
    if (WATCHED.some(point => Number.isFinite(frame[3 * point]))) this.seen = seconds;
  }

  next(seconds) {
    if (this.since === null || seconds - this.since < this.after) return [];
    this.since = Infinity;
    return [{ kind: "idle", seconds, why: seconds - this.seen >= this.after ? "nobody is in the picture" : "the hands rest" }];
  }
}

export class Recognizer {
  constructor(model, spotter, config, rate, keep = () => {}) { // keep(frame, seconds): told of every frame at the even rate
    Object.assign(this, { model, spotter, config, rate, keep, pace: new FrameResampler(rate, config.longest_gap) });
    Object.assign(this, { segmenter: new Segmenter(config), idle: new IdleWatch(config.idle_after) });
    this.most = Math.ceil((config.max_duration + 2 * config.margin) * rate) + spotter.delay + config.end_frames + config.start_frames + 2;
    this.reset();
  }

  reset() {
    for (const part of [this.spotter, this.segmenter, this.idle]) part.reset();
    Object.assign(this, { frames: [], count: 0, after: 0, before: null }); // the last frames; all so far; where the sign before ended, and what it was
  }

  get signing() { return this.segmenter.start !== null; }

  async next(frame, seconds, aspect) { // landmarks of a picture of that shape; what has happened
    const { frames, gap } = this.pace.next(changeAspect(frame, aspect), seconds), events = [];
    if (gap !== undefined) events.push(...await this.finish(), { kind: "idle", seconds, why: gap > 0 ? `no picture for ${gap.toFixed(1)} s` : "the clock was set back" });
    for (const each of frames) events.push(...await this.advance(each));
    return events;
  }

  async finish() { // the end of the sign in progress, if there is one
    const events = this.signing ? [await this.end(this.count)] : [];
    this.reset();
    return events;
  }

  async guess() { return this.signing ? (await this.read(this.segmenter.start, this.count, this.after)).guesses : []; }

  async advance(each) {
    const { frame, seconds } = each;
    this.frames = [...this.frames.slice(1 - this.most), each];
    this.count += 1;
    this.keep(frame, seconds);
    this.idle.look(frame, seconds);
    const probability = this.spotter.next(frame), place = this.count - 1 - this.spotter.delay;
    if (place < 0) return [];
    const change = this.segmenter.next(place, probability);
    if (change === "end") return [await this.end(this.segmenter.last + 1)];
    if (!this.signing) return this.idle.next(seconds);
    return change === "start" ? [{ kind: "start", seconds: this.time(this.segmenter.start) }] : [];
  }

  time(place) { return this.frames.at(Math.max(place - this.count, -this.frames.length)).seconds; }

  async read(start, stop, after) { // what the model sees in a part of the stream, with margins, but not what belongs to the sign before
    const margin = Math.round(this.config.margin * this.rate), first = this.count - this.frames.length;
    const from = Math.max(start - margin, after, first) - first, frames = this.frames.slice(from, stop + margin - first);
    return { start, stop, after, from: frames[0].seconds, to: frames.at(-1).seconds, ...await this.model.ask(frames) };
  }

  async join(reading) { // the sign before and this one as one, if the model is more certain of that than of either
    const { before, config, rate } = this;
    if (!before || (reading.start - before.stop) / rate > config.rejoin_gap || (reading.stop - before.start) / rate > config.max_duration) return null;
    const both = await this.read(before.start, reading.stop, before.after), [best, one, other] = [both, before, reading].map(each => each.guesses[0]);
    return best.share > Math.max(one.share, other.share) && best.sign === one.sign ? both : null;
  }

  async end(stop) {
    const { start } = this.segmenter, { config } = this, length = (stop - start) / this.rate;
    const event = { kind: "end", start: this.time(start), seconds: this.time(stop - 1), sign: null, unknown: false, why: "", guesses: [] };
    let remembered = null;
    if (length < config.min_duration) event.why = `${length.toFixed(1)} s is too short for a sign`;
    else if (length > config.max_duration) event.why = `${length.toFixed(1)} s is too long for a sign`;
    else {
      const reading = await this.read(start, stop, this.after), both = await this.join(reading);
      Object.assign(event, { from: reading.from, to: reading.to, guesses: reading.guesses, logits: reading.logits });
      if (both) [event.why, remembered] = ["the sign before went on", both];
      else if (reading.known === false) [event.why, event.unknown] = ["a sign that the model does not know", true];
      else if (reading.guesses[0].share < config.min_confidence) [event.why, event.unknown] = ["no sign is probable enough", true];
      else [event.sign, remembered] = [reading.guesses[0].sign, reading];
    }
    Object.assign(this, { after: stop, before: remembered });
    this.segmenter.reset();
    this.idle.since = event.seconds;
    return event;
  }
}
