// The 543 landmarks of a frame, as a Float32Array of x, y, z, NaN = not seen. See nbs/data/01_landmarks.ipynb.
export const POINTS = 543, ASPECT = 4 / 3; // width / height of the standard picture
export const PARTS = { face: [0, 468], left_hand: [468, 489], pose: [489, 522], right_hand: [522, 543] };
export class Trouble extends Error {} // something that whoever sits before the page can mend

// Landmarks of a picture of any shape in the standard one; x and z count in widths.
export function changeAspect(landmarks, aspect, to = ASPECT) {
  const factor = aspect / to;
  return factor === 1 ? landmarks : landmarks.map((value, number) => number % 3 === 0 ? .5 + (value - .5) * factor : number % 3 === 1 ? value : value * factor);
}

export function joined(frames) { // [{ frame }] as one array
  const all = new Float32Array(frames.length * POINTS * 3);
  frames.forEach(({ frame }, number) => all.set(frame, number * POINTS * 3));
  return all;
}
