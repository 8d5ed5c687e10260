// Estimates from a checked sample, as a table: each figure with its interval, beside two that are worse.

import { h } from "./dom.js";
import { number, t } from "./messages.js";

export const LEAST_PHOTOS = 30; // below, the service estimates nothing

const FIGURES = {
  women_share: (value) => t("in-percent", { value: number(100 * value, 1) }),
  women_average_age: (value) => t("in-years", { value: number(value, 1) }),
  men_average_age: (value) => t("in-years", { value: number(value, 1) }),
  faces: (value) => number(value, 0),
};

export function estimatesTable(estimates) {
  if (estimates.reviewed < LEAST_PHOTOS) return h("p", { class: "quiet" }, t("estimates-later", { least: LEAST_PHOTOS }));
  const head = ["figure", "estimate", "sample-only", "uncorrected"].map((name) => h("th", { scope: "col" }, t(`estimates-${name}`)));
  const rows = Object.entries(FIGURES).map(([name, shown]) => row(name, estimates[name], shown));
  return h(
    "div",
    { class: "scrolls", tabindex: 0, role: "region", "aria-label": t("estimates-title") },
    h("table", { class: "estimates" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)),
    h("p", { class: "quiet" }, t("estimates-note")),
  );
}

function row(name, found, shown) {
  const title = h("th", { scope: "row" }, t(`estimates-${name}`));
  if (!found) return h("tr", {}, title, h("td", { colspan: 3 }, t("estimates-none")));
  const { value, low, high, uncorrected, sample_only: alone } = found;
  const range = (one) => h("small", {}, t("from-to", { low: shown(one.low), high: shown(one.high) }));
  return h(
    "tr",
    {},
    title,
    h("td", {}, h("b", {}, shown(value)), range({ low, high })),
    h("td", {}, shown(alone.value), range(alone)),
    h("td", {}, uncorrected === null ? "–" : shown(uncorrected)),
  );
}
