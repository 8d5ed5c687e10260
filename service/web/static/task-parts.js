// Parts of a task's page that need the task alone: how far it is, facts, downloads, failures in groups.

import { taskAddress } from "./api.js";
import { h, icon } from "./dom.js";
import { bytes, list, moment, seconds, t, timeOfDay } from "./messages.js";
import { bar, reasonOf, shareDone } from "./parts.js";
import { lasting } from "./sending.js";

const NAMES_SHOWN = 20;

export function working(task, waiting) {
  if (task.status !== "processing") return [];
  const { total, done, failed } = task.progress;
  const text = t("done-of", { done: done + failed, total, count: total });
  return [
    h("section", { class: "sheet going", "aria-labelledby": "working" }, h("h2", { id: "working" }, t("finding-faces")), h("p", {}, text), bar(t("finding-faces"), shareDone(task)), timeLeft(task), waitsFor(task.waiting_for), waiting && h("p", { class: "why" }, `${t("tried-again")} `, reasonOf(waiting.error))),
  ];
}

// By the photos of this run so far; nothing before there are some, or while the engine is away.
function timeLeft({ started_at: start, waiting_for: waiting, progress: { pending, done, failed } }) {
  const time = (Date.now() - new Date(start)) / 1000;
  if (waiting || done + failed < 5 || time < 2) return null;
  return h("p", { class: "why" }, t("time-left", { left: lasting((time * pending) / (done + failed)) }));
}

function waitsFor(waiting) {
  if (!waiting) return null;
  const { since, next_try: next } = waiting;
  return h("p", { class: "why", id: "waiting-for" }, t("waiting-for", { since: moment(since), next: timeOfDay(next) }));
}

export function facts(task) {
  const size = bytes(task.images.reduce((sum, image) => sum + image.size, 0));
  const parts = [t("photos", { count: task.progress.total })];
  if (task.name) parts.unshift(moment(task.created_at));
  if (task.images.length) parts.push(size);
  if (task.finished_at) parts.push(t("took", { time: seconds(task.started_at, task.finished_at) }));
  return parts.join(" · ");
}

export function downloads(task) {
  const address = taskAddress(task.id);
  const link = (file, text, label) => h("a", { class: "button", href: `${address}/${file}`, download: true, "aria-label": label, title: label }, icon("down"), text);
  return [
    link("faces.csv?bom=1", "CSV", t("download-csv")),
    link("faces.jsonl", "JSONL", t("download-jsonl")),
    link("boxed.zip", t("boxed-photos"), t("download-zip")),
    link("blurred.zip", t("blurred-photos"), t("download-blurred")),
  ];
}

export function names(images) {
  const shown = images.slice(0, NAMES_SHOWN).map((image) => image.name);
  const more = images.length - shown.length;
  return list(more ? [...shown, t("more-photos", { count: more })] : shown);
}

export function byReason(images) {
  const groups = new Map();
  for (const image of images) {
    const { detail } = image.error;
    if (!groups.has(detail)) groups.set(detail, []);
    groups.get(detail).push(image);
  }
  return groups;
}
