// Parts that both views show: a task's name and status, progress, notices, its deletion.

import { call, taskAddress } from "./api.js";
import { h, icon } from "./dom.js";
import { dropManifest } from "./manifest.js";
import { language, moment, problemText, t } from "./messages.js";
import { ask, askText } from "./question.js";
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

// Returns the service's own sentence, which is English; in another language what its code means, after the file's name.
// Without an answer it says so.
export function sentence({ status, detail, code = "", name = "" }) {
  if (!detail) return h("span", {}, t(status ? "strange-answer" : "no-answer"));
  const words = problemText(code);
  if (words) return h("span", {}, name && `${name}: `, words);
  return h("span", { lang: language() === "en" ? null : "en" }, detail);
}

// Returns why an image failed, or waits.
export function reasonOf({ code, detail }) {
  return sentence({ status: 1, detail, code });
}

export function notice(kind, ...content) {
  const role = kind === "danger" ? "alert" : "status";
  return h("div", { class: `notice ${kind}`, role }, icon("warning"), h("div", {}, content));
}

// Asks, deletes, and tells whether it is gone. A task that is gone already counts as gone.
export async function deleteAfterQuestion(task) {
  if (!(await ask({ title: t("delete-title", { name: nameOf(task) }), text: whatGoes(task), yes: t("delete") }))) return false;
  await deleteTask(task.id);
  return true;
}

export async function deleteTask(id) {
  uploadOf(id)?.stop();
  dropManifest(id);
  try {
    await call("DELETE", taskAddress(id));
  } catch (error) {
    if (error.status !== 404) throw error;
  }
}

// Asks for another name, and gives it to the task; returns whether it has one now.
export async function renameAfterQuestion(task) {
  const name = await askText({ title: t("rename-title"), label: t("name"), value: task.name ?? "", yes: t("save"), most: 200 });
  if (name === null) return false;
  await call("PATCH", taskAddress(task.id), { json: { name: name.trim() || null } });
  return true;
}

function whatGoes(task) {
  const count = task.progress.total;
  const upload = uploadOf(task.id);
  if (upload?.isSending) return t("delete-text-sending", { count: count + upload.total - upload.settled });
  if (!count) return t("delete-text-empty");
  return t(task.status === "processing" ? "delete-text-processing" : "delete-text", { count });
}
