// Parts that both views show: a task's name and status, progress, notices, its deletion.

import { call, taskAddress } from "./api.js";
import { h, icon } from "./dom.js";
import { language, moment, t } from "./messages.js";
import { ask } from "./question.js";
import { uploadOf } from "./upload.js";

const STATUS_ICONS = { forming: "dots", processing: "again", completed: "done", error: "warning" };

export function nameOf(task) {
  return task.name ?? t("unnamed-task", { moment: moment(task.created_at) });
}

export function statusOf(task) {
  return h("span", { class: `status ${task.status}` }, icon(STATUS_ICONS[task.status]), t(`status-${task.status}`));
}

export function bar(label, share) {
  return h("progress", { "aria-label": label, max: 1, value: share });
}

export function shareDone(task) {
  const { total, done, failed } = task.progress;
  return total ? (done + failed) / total : 0;
}

// Returns the service's own sentence, which is English, or what to say when there was no answer at all. In another
// language what `reason` stands for, a status or a code, goes before it in words of the page, and the file's name first.
export function sentence({ status, detail, reason = "", name = "" }) {
  if (!detail) return h("span", {}, t(status ? "strange-answer" : "no-answer"));
  const own = h("span", { lang: language() === "en" ? null : "en" }, detail);
  const words = reason && t(`reason-${reason}`);
  return words ? h("span", {}, name && `${name}: `, `${words} `, h("small", {}, own)) : own;
}

// Returns why an image failed, or waits.
export function reasonOf({ code, detail }) {
  return sentence({ status: 1, detail, reason: code });
}

export function notice(kind, ...content) {
  const role = kind === "danger" ? "alert" : "status";
  return h("div", { class: `notice ${kind}`, role }, icon("warning"), h("div", {}, content));
}

// Asks, deletes, and tells whether it is gone. A task that is gone already counts as gone.
export async function deleteAfterQuestion(task) {
  if (!(await ask({ title: t("delete-title", { name: nameOf(task) }), text: whatGoes(task), yes: t("delete") }))) return false;
  uploadOf(task.id)?.stop();
  try {
    await call("DELETE", taskAddress(task.id));
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  return true;
}

function whatGoes(task) {
  const count = task.progress.total;
  const upload = uploadOf(task.id);
  if (upload?.isSending) return t("delete-text-sending", { count: count + upload.total - upload.settled });
  if (!count) return t("delete-text-empty");
  return t(task.status === "processing" ? "delete-text-processing" : "delete-text", { count });
}
