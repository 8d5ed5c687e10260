// Faces over a photo, and in words.

import { h, svg } from "./dom.js";
import { list, number, t } from "./messages.js";

const SIGNS = { female: "♀", male: "♂", unknown: "?" };
const SMALLEST_LABELLED = 0.07; // of the photo's width; below, labels would hide the faces

// Above so many faces labels are numbers, which a list beside the photo explains.
export const MANY = 12;

// Returns the boxes and their labels, to lie over an image of the same shape. `inFull` has words instead of signs.
export function overlay(image, inFull) {
  const frame = svg("svg", { viewBox: `0 0 ${image.width} ${image.height}`, preserveAspectRatio: "none" });
  const labels = [];
  image.faces.forEach((face, position) => {
    const { x, y, width, height } = face.bbox;
    const place = { x, y, width, height, rx: Math.min(width, height) * 0.06, "data-face": position, "--share": height / image.height };
    frame.append(svg("rect", { ...place, class: "halo" }), svg("rect", { ...place, class: `box ${face.gender}` }));
    if (inFull || width >= image.width * SMALLEST_LABELLED) labels.push(label(image, face, position, inFull));
  });
  return h("span", { class: "overlay", "aria-hidden": "true" }, frame, labels);
}

// `placeLabels` gives it its place.
function label(image, face, position, inFull) {
  const attributes = { class: `tag ${face.gender}`, "data-face": position };
  if (inFull && image.faces.length > MANY) return h("span", attributes, position + 1);
  const age = face.age === null ? "" : number(face.age);
  const word = inFull && h("span", { class: "word" }, `${t(`person-${face.gender}`)} `);
  return h("span", attributes, `${SIGNS[face.gender]} `, word, age);
}

// Returns a face in words: "woman, 31".
export function described(face) {
  const person = t(`person-${face.gender}`);
  return face.age === null ? person : t("person-of-age", { person, age: number(face.age) });
}

// Returns between which ages a face is, nine times in ten; nothing where the engine does not say.
export function ageRange({ age_low: low, age_high: high }) {
  return low === null || high === null ? "" : t("age-range", { low, high });
}

// Returns what a photo shows, in a sentence: for those who do not see it.
export function summary(image) {
  if (image.status === "failed") return t("photo-failed", { name: image.name });
  if (image.status === "pending") return t("photo-pending", { name: image.name });
  if (!image.faces.length) return t("photo-without-faces", { name: image.name });
  const people = image.faces.slice(0, 10).map(described);
  const more = image.faces.length - people.length;
  if (more) people.push(t("more", { count: more }));
  return t("photo-with-faces", { name: image.name, count: image.faces.length, people: list(people) });
}
