// The list of tasks, and the place where a new one begins.

import { call, Refusal, Watch } from "./api.js";
import { announce, h, icon } from "./dom.js";
import { DropZone } from "./drop.js";
import { moment, number, t } from "./messages.js";
import { bar, deleteAfterQuestion, nameOf, notice, sentence, shareDone, statusOf } from "./parts.js";
import { recall, remember } from "./place.js";
import { withdraw } from "./question.js";
import { send } from "./upload.js";

const PAGE = 50;

export class ListView {
  title = t("tasks-title");
  #go;
  #tasks = [];
  #text = null;
  #next = null; // the cursor of the page behind those that are shown
  #rows = new Map(); // of each task {element, state}
  #hasDrawn;
  #list = h("ul", { class: "tasks", role: "list" });
  #notices = h("div", { class: "notices" });
  #more = h("button", { type: "button", class: "button", hidden: true, onclick: () => this.#showMore() }, t("show-more"));
  #nothing = h("p", { class: "nothing", hidden: true }, t("no-tasks"));

  drawn = new Promise((resolve) => {
    this.#hasDrawn = resolve;
  });

  constructor(go) {
    this.#go = go;
    this.drop = new DropZone({ isNew: true, take: (found) => this.#begin(found) });
    this.element = h(
      "div",
      { class: "view" },
      h("div", { class: "lead" }, h("h1", { tabindex: -1 }, t("tasks-title")), h("p", {}, t("tasks-lead"))),
      this.#notices,
      this.drop.element,
      h("section", { "aria-labelledby": "tasks" }, h("h2", { id: "tasks" }, t("tasks")), this.#nothing, this.#list, this.#more),
    );
    this.watch = new Watch(() => this.#load(), (error) => this.#trouble(error));
  }

  stop() {
    this.watch.stop();
    this.drop.stop();
    withdraw();
  }

  async #begin({ files, leftOut, name, starts }) {
    try {
      const { value } = await call("POST", "tasks", { json: name ? { name: name.slice(0, 200) } : {} });
      send(value.id, files, starts);
      this.#go(`/tasks/${value.id}`, { leftOut });
    } catch (error) {
      this.#trouble(error);
    }
  }

  async #load() {
    const { items, next } = (await call("GET", `tasks?limit=${PAGE}`)).value;
    this.#notices.replaceChildren();
    const text = JSON.stringify(items);
    const changed = text !== this.#text;
    if (changed) {
      const oldest = items.at(-1);
      const older = next ? this.#tasks.filter((task) => task.created_at < oldest.created_at) : [];
      this.#tasks = [...items, ...older];
      if (this.#text === null || !older.length) this.#next = next;
      if (this.#text === null) await this.#addUpTo(recall().rows);
      this.#text = text;
      this.#show();
      this.#hasDrawn();
    }
    return { changed, goesOn: true };
  }

  #trouble(error) {
    if (!(error instanceof Refusal)) throw error;
    this.#notices.replaceChildren(notice("warning", h("p", {}, sentence(error))));
    return true;
  }

  async #showMore() {
    const first = this.#tasks.length;
    try {
      await this.#addUpTo(first + 1);
      remember({ rows: this.#tasks.length });
      this.#show();
      this.#list.children[first]?.querySelector("a").focus();
    } catch (error) {
      this.#trouble(error);
    }
  }

  async #addUpTo(rows) {
    while (this.#next && this.#tasks.length < rows) {
      const { items, next } = (await call("GET", `tasks?limit=${PAGE}&cursor=${encodeURIComponent(this.#next)}`)).value;
      this.#tasks.push(...items);
      this.#next = next;
    }
  }

  #show() {
    const rows = this.#tasks.map((task) => this.#row(task));
    const known = new Set(this.#tasks.map((task) => task.id));
    for (const id of this.#rows.keys()) if (!known.has(id)) this.#rows.delete(id);
    rows.forEach((row, position) => {
      if (this.#list.children[position] !== row) this.#list.insertBefore(row, this.#list.children[position] ?? null);
    });
    while (this.#list.children.length > rows.length) this.#list.lastElementChild.remove();
    this.#nothing.hidden = rows.length > 0;
    this.#more.hidden = !this.#next;
  }

  #row(task) {
    const row = this.#rows.get(task.id) ?? this.#newRow(task);
    const state = JSON.stringify(task);
    if (row.state !== state) {
      row.state = state;
      row.element.querySelector(".state").replaceChildren(statusOf(task), h("span", { class: "facts" }, facts(task)));
      row.element.querySelector(".how-far").replaceChildren(
        ...(task.status === "processing" ? [bar(t("progress-of", { name: nameOf(task) }), shareDone(task))] : []),
      );
    }
    return row.element;
  }

  #newRow(task) {
    const element = h(
      "li",
      { id: task.id },
      h(
        "div",
        { class: "which" },
        h("a", { href: `/tasks/${task.id}` }, nameOf(task)),
        task.name && h("time", { datetime: task.created_at }, moment(task.created_at)),
      ),
      h("div", { class: "state" }),
      h("div", { class: "how-far" }),
      h(
        "button",
        { type: "button", class: "round", "aria-label": t("delete-task", { name: nameOf(task) }), title: t("delete"), onclick: () => this.#delete(task.id) },
        icon("trash"),
      ),
    );
    const row = { element, state: "" };
    this.#rows.set(task.id, row);
    return row;
  }

  async #delete(id) {
    const task = this.#tasks.find((one) => one.id === id);
    try {
      if (!(await deleteAfterQuestion(task))) return;
    } catch (error) {
      this.#trouble(error);
      return;
    }
    const position = this.#tasks.indexOf(task);
    this.#tasks = this.#tasks.filter((one) => one.id !== id);
    this.#show();
    announce(t("deleted", { name: nameOf(task) }));
    const neighbour = this.#list.children[Math.min(position, this.#list.children.length - 1)];
    (neighbour?.querySelector("a") ?? this.element.querySelector("h1")).focus();
    this.watch.poke();
  }
}

function facts(task) {
  const { total, done, failed } = task.progress;
  if (task.status === "processing") return t("done-of", { done: done + failed, total, count: total });
  const parts = [t("photos", { count: total })];
  if (task.status !== "forming") parts.push(t("faces", { count: task.statistics.faces }));
  if (failed) parts.push(t("failed-photos", { count: failed, number: number(failed) }));
  return parts.join(" · ");
}
