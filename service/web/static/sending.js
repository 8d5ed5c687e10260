// The upload into a task as its page shows it: how far it is, what was refused, and what can be done when it stopped.

import { h, icon } from "./dom.js";
import { missingOf } from "./manifest.js";
import { bytes, seconds, t } from "./messages.js";
import { bar, notice, sentence } from "./parts.js";

const REASONS_SHOWN = 8;

// `moveOn` puts what was not sent into a new task.
export function sending(upload, moveOn) {
  if (upload.state === "stopped") {
    const words = upload.problem ? sentence(upload.problem) : t("upload-stopped");
    const rest = upload.total - upload.settled;
    const isStarted = upload.problem?.code === "task_not_forming";
    const goOn = isStarted
      ? h("button", { type: "button", class: "button", "data-focus": "move-on", onclick: moveOn }, icon("next"), t("rest-into-new-task", { count: rest }))
      : h("button", { type: "button", class: "button", "data-focus": "go-on", onclick: () => upload.resume() }, icon("play"), t("go-on"));
    return [h("section", { class: "notice warning" }, icon("warning"), h("div", {}, h("p", {}, words), h("p", {}, sent(upload))), goOn)];
  }
  if (!upload.isSending) return [];
  return [
    h(
      "section",
      { class: "sheet going", "aria-labelledby": "sending" },
      h("h2", { id: "sending" }, titleOf(upload)),
      h("p", { class: "sent" }),
      bar(t("sending-photos"), upload.share),
      h("p", { class: "pace" }),
      h("button", { type: "button", class: "button quiet", "data-focus": "stop", onclick: () => upload.stop() }, t("stop-sending")),
    ),
  ];
}

export function showPace(element, upload) {
  element.querySelector("progress").value = upload.share;
  element.querySelector(".sent").textContent = upload.state === "comparing" ? "" : sent(upload);
  const { rate, left } = upload.pace;
  element.querySelector(".pace").textContent = rate ? t("pace", { rate: bytes(rate), left: lasting(left) }) : "";
}

// What an earlier visit left unsent, or another tab is sending.
export function interrupted(manifest, other) {
  if (other) return [notice("quiet", h("p", {}, t("sent-elsewhere", { done: other.settled, total: other.total })))];
  const missing = manifest ? missingOf(manifest) : 0;
  if (!missing) return [];
  return [notice("warning", h("p", {}, t("arrived-of", { done: manifest.total - missing, total: manifest.total })))];
}

export function refusals(refused) {
  if (!refused.length) return [];
  const items = refused.map((refusal) => h("li", {}, refusal.code ? sentence({ ...refusal, status: 1 }) : refusal.detail));
  return [
    h(
      "section",
      { class: "notice warning", "aria-labelledby": "refused-title" },
      icon("warning"),
      h("div", {}, h("h2", { id: "refused-title" }, t("refused-files", { count: refused.length })), reasons(items)),
      h("button", { type: "button", class: "button", "data-focus": "save-refused", onclick: () => save(refused) }, icon("down"), t("save-list")),
    ),
  ];
}

// Returns the first reasons, and the others folded up.
export function reasons(items) {
  const others = items.slice(REASONS_SHOWN);
  const more = h("details", {}, h("summary", {}, t("more", { count: others.length })), h("ul", { class: "reasons", role: "list" }, others));
  return [h("ul", { class: "reasons", role: "list" }, items.slice(0, REASONS_SHOWN)), others.length > 0 && more];
}

export function lasting(time) {
  return seconds(0, 1000 * time);
}

function titleOf({ state }) {
  if (state === "comparing") return t("comparing-files");
  return t(state === "offline" ? "waiting-for-service" : "sending-photos");
}

function sent({ settled, total }) {
  return t("sent-of", { done: settled, total, count: total });
}

function save(refused) {
  const lines = refused.map(({ name, detail }) => `${name}\t${detail}\n`);
  const address = URL.createObjectURL(new Blob(lines, { type: "text/plain" }));
  h("a", { href: address, download: `${t("refused-files", { count: refused.length })}.txt` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
