// Counts only those whose gender the engine is sure enough of; the others count as unsure. Nothing is asked of the service.

import { h } from "./dom.js";
import { t } from "./messages.js";

export const ALL = 50; // percent: the likelier gender is never less probable

// Returns the task as it is with everybody unsure whose gender is less probable than so many percent.
export function countedAbove(task, percent) {
  if (percent <= ALL) return task;
  const images = task.images.map((image) => ({ ...image, faces: image.faces.map((face) => (isBelow(face, percent) ? { ...face, gender: "unknown" } : face)) }));
  const faces = images.flatMap((image) => image.faces);
  const [men, women] = ["male", "female"].map((gender) => faces.filter((face) => face.gender === gender));
  const counts = { men: men.length, women: women.length, unknown: faces.length - men.length - women.length };
  const averages = { men_average_age: averageAge(men), women_average_age: averageAge(women) };
  return { ...task, images, statistics: { ...task.statistics, ...counts, ...averages } };
}

function isBelow({ gender, male_probability: male }, percent) {
  return gender !== "unknown" && male !== null && 100 * Math.max(male, 1 - male) < percent;
}

function averageAge(people) {
  const ages = people.map((face) => face.age).filter((age) => age !== null);
  return ages.length ? ages.reduce((sum, age) => sum + age, 0) / ages.length : null;
}

export function hasProbabilities(task) {
  return task.images.some((image) => image.faces.some((face) => face.male_probability !== null));
}

export function slider(percent, change) {
  const told = (value) => (value <= ALL ? t("count-all") : t("in-percent", { value }));
  const output = h("output", {}, told(percent));
  const input = h("input", {
    type: "range",
    min: ALL,
    max: 99,
    value: percent,
    oninput: () => {
      output.textContent = told(Number(input.value));
      change(Number(input.value));
    },
  });
  return h("label", { class: "field certain" }, t("count-only-above"), input, output);
}
