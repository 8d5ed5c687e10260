// Statistics as numbers and two small pictures, each with its numbers in a table for those who do not see it.

import { h } from "./dom.js";
import { number, percent, t } from "./messages.js";
import { reasonOf } from "./parts.js";

const DECADES = 9; // the last one is 80 and over

export function statistics(task) {
  const { faces, men, women, unknown, men_average_age: menAge, women_average_age: womenAge, warnings } = task.statistics;
  return [
    h(
      "dl",
      { class: "figures" },
      figure(t("figure-photos"), number(task.progress.done), t("figure-of", { total: task.progress.total })),
      figure(t("figure-faces"), number(faces)),
      figure(t("figure-women"), number(women), womenAge === null ? "" : t("average-age", { age: number(womenAge, 1) })),
      figure(t("figure-men"), number(men), menAge === null ? "" : t("average-age", { age: number(menAge, 1) })),
      unknown ? figure(t("figure-unknown"), number(unknown)) : null,
    ),
    warnings.length ? h("ul", { class: "warnings", role: "list" }, warnings.map((warning) => h("li", {}, reasonOf(warning)))) : null,
    faces ? h("div", { class: "charts" }, ages(task.images), shares(task.statistics)) : null,
    faces ? h("p", { class: "guesses" }, t("guesses")) : null,
  ];
}

function figure(name, value, note = "") {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value, note && h("small", {}, note)));
}

function ages(images) {
  const counts = { female: Array(DECADES).fill(0), male: Array(DECADES).fill(0) };
  for (const image of images) {
    for (const { gender, age } of image.faces) {
      if (age !== null && counts[gender]) counts[gender][Math.min(DECADES - 1, Math.max(0, Math.floor(age / 10)))] += 1;
    }
  }
  const most = Math.max(1, ...counts.female, ...counts.male);
  const columns = counts.female.map((women, decade) =>
    h("div", { class: "column" }, bar("female", women, most), bar("male", counts.male[decade], most), h("small", {}, span(decade))),
  );
  const rows = counts.female.map((women, decade) => [span(decade), number(women), number(counts.male[decade])]);
  const head = [t("age"), t("figure-women"), t("figure-men")];
  return h("figure", {}, h("figcaption", {}, t("ages-by-gender"), legend()), h("div", { class: "histogram", "aria-hidden": "true" }, columns), table(t("ages-by-gender"), head, rows));
}

function bar(kind, count, most) {
  return h("span", { class: `bar ${kind}`, "--share": count / most }, count ? h("b", {}, number(count)) : null);
}

function span(decade) {
  return decade === DECADES - 1 ? `${decade * 10}+` : `${decade * 10}–${decade * 10 + 9}`;
}

function legend() {
  const entry = (kind, text) => h("span", { class: "key" }, h("i", { class: `swatch ${kind}` }), text);
  return h("span", { class: "legend" }, entry("female", `♀ ${t("figure-women")}`), entry("male", `♂ ${t("figure-men")}`));
}

function shares({ faces, men, women, unknown }) {
  const parts = [
    ["female", `♀ ${t("figure-women")}`, women],
    ["male", `♂ ${t("figure-men")}`, men],
    ["unknown", `? ${t("figure-unknown")}`, unknown],
  ].filter(([, , count]) => count);
  const bars = parts.map(([kind, , count]) => h("span", { class: `part ${kind}`, "--share": count }));
  const keys = parts.map(([kind, name, count]) =>
    h("li", {}, h("i", { class: `swatch ${kind}` }), name, h("b", {}, percent(count / faces)), h("small", {}, number(count))),
  );
  return h(
    "figure",
    {},
    h("figcaption", {}, t("women-and-men")),
    h("div", { class: "shares", "aria-hidden": "true" }, bars),
    h("ul", { class: "keys" }, keys),
  );
}

function table(caption, head, rows) {
  return h(
    "table",
    { class: "unseen" },
    h("caption", {}, caption),
    h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", {}, cell))))),
  );
}
