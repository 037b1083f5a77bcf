// Is somebody signing in this frame? LearnedSpotter of nbs/live/01_spotter.ipynb, with the weights and numbers that build.py takes from there.
import { ASPECT } from "./landmarks.js";

const clip = (value, least, most) => Math.min(Math.max(value, least), most), known = value => Number.isNaN(value) ? 0 : value;

class MotionFeatures {
  constructor({ arms, others, rate }) { Object.assign(this, { arms: arms.length, described: [...arms, ...others], rate }); this.reset(); }

  reset() { Object.assign(this, { middle: [ASPECT / 2, .5], width: .3, before: null, places: [] }); }

  next(frame) { // the features of one hand after the other, then those of the body
    const points = this.described.map(number => [frame[3 * number] * ASPECT, frame[3 * number + 1]]), [left, right] = points;
    const bodySeen = [...left, ...right].every(Number.isFinite);
    if (bodySeen) {
      const width = Math.max(Math.hypot(left[0] - right[0], left[1] - right[1]), .02);
      this.width = this.before ? .9 * this.width + .1 * width : width;
      this.middle = [0, 1].map(axis => (left[axis] + right[axis]) / 2);
    }
    const hands = this.hands(points.slice(2, this.arms).map(point => point.map((value, axis) => (value - this.middle[axis]) / this.width)));
    const before = this.before ?? { hands, middle: this.middle };
    const distance = (one, other) => Math.hypot(one[0] - other[0], one[1] - other[1]);
    const body = Math.min(distance(this.middle, before.middle) / this.width * this.rate, 30);
    const each = hands.flatMap(({ seen, wrist, tips }, hand) => {
      const speed = distance(wrist, before.hands[hand].wrist) * this.rate;
      const fingers = known(tips.reduce((sum, tip, number) => sum + distance(tip, before.hands[hand].tips[number]), 0) / tips.length) * this.rate;
      return [Number(seen), wrist[0] * (hand ? -1 : 1) / 2, wrist[1] / 2, Math.log1p(speed), Math.log1p(fingers)];
    });
    this.before = { hands, middle: this.middle };
    return [...each, Number(bodySeen), Math.log1p(body), ...this.jolts(points).map(Math.log1p)].map(value => clip(value, -4, 4));
  }

  jolts(points) { // of the body, and the largest of hands and arms
    this.places = [...this.places, points].slice(-3);
    if (this.places.length < 3) return [0, 0];
    const [first, second, third] = this.places;
    const jolts = points.map((_, number) => known(Math.hypot(...[0, 1].map(axis => third[number][axis] - 2 * second[number][axis] + first[number][axis]))) * this.rate / this.width);
    const body = jolts.slice(this.arms).sort((one, other) => one - other), half = body.length / 2;
    return [(body[Math.ceil(half) - 1] + body[Math.floor(half)]) / 2, Math.max(...jolts.slice(0, this.arms))];
  }

  hands(places) { // the wrists of the pose, then a wrist and fingertips of each hand
    const size = (places.length - 2) / 2;
    return [0, 1].map(hand => {
      const [root, ...tips] = places.slice(2 + hand * size, 2 + (hand + 1) * size), seen = Number.isFinite(root[0]);
      const wrist = (seen ? root : places[hand]).map((value, axis) => clip(Number.isFinite(value) ? value : [0, 3][axis], -8, 8));
      return { seen, wrist, tips: tips.map(tip => tip.map((value, axis) => value - root[axis])) };
    });
  }
}

export class LearnedSpotter {
  constructor(about, weights) { // a Float32Array: weights and biases of one layer after the other
    this.features = new MotionFeatures(about);
    let place = 0;
    const take = length => weights.subarray(place, place += length);
    this.layers = about.sizes.slice(1).map((size, layer) => ({ weight: take(size * about.sizes[layer]), bias: take(size) }));
    Object.assign(this, { before: about.before, after: about.after, unseen: about.unseen, delay: about.after });
    this.reset();
  }

  reset() {
    this.features.reset();
    Object.assign(this, { window: [], count: 0 });
  }

  next(frame) { // probability that the frame `delay` frames ago belongs to a sign
    const features = this.features.next(frame), size = this.before + 1 + this.after;
    if (!this.window.length) this.window = Array(size).fill(features);
    this.window = [...this.window.slice(1 - size), features];
    this.count += 1;
    const handsSeen = this.window.slice(this.before - this.unseen, this.before + this.unseen + 1).some(each => each[0] || each[5]);
    return this.count > this.after && handsSeen ? this.judge(this.window.flat()) : 0;
  }

  judge(values) {
    this.layers.forEach(({ weight, bias }, layer) => {
      const sums = Float64Array.from(bias), size = bias.length;
      values.forEach((value, row) => { for (let column = 0; column < size; column++) sums[column] += value * weight[row * size + column]; });
      values = layer < this.layers.length - 1 ? sums.map(value => Math.max(value, 0)) : sums;
    });
    return 1 / (1 + Math.exp(-values[0]));
  }
}
