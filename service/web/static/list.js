// The list of tasks, and the place where a new one begins.

import { call, Refusal, Watch } from "./api.js";
import { announce, h, icon } from "./dom.js";
import { DropZone } from "./drop.js";
import { moment, number, t } from "./messages.js";
import { bar, deleteAfterQuestion, nameOf, notice, renameAfterQuestion, sentence, shareDone, statusOf } from "./parts.js";
import { recall, remember } from "./place.js";
import { Preview } from "./preview.js";
import { withdraw } from "./question.js";
import { Selection } from "./selection.js";
import { elsewhere, uploadElsewhere } from "./tabs.js";
import { sendIntoNewTask, uploadOf } from "./upload.js";

const PAGE = 50;
const LARGEST_PAGE = 100;
const SAMPLES = ["group.jpg", "astronaut.jpg", "grace_hopper.jpg"];
const STATUSES = [
  ["", () => t("any-status")],
  ["forming", () => t("status-forming")],
  ["processing", () => t("status-processing")],
  ["completed", () => t("status-completed")],
  ["error", () => t("status-error")],
];

export class ListView {
  title = t("tasks-title");
  #go;
  #tasks = [];
  #text = null;
  #status = recall().status ?? "";
  #search = h("input", { type: "search", value: recall().search ?? "", "aria-label": t("search"), placeholder: t("search"), oninput: () => this.#choose() });
  #statuses = h("select", { "aria-label": t("status"), onchange: () => this.#choose() }, STATUSES.map(([value, text]) => h("option", { value, selected: value === this.#status }, text())));
  #selection = new Selection((id) => this.#forget(id));
  #next = null; // the cursor of the page behind those that are shown
  #rows = new Map(); // of each task {element, state}
  #hasDrawn;
  #list = h("ul", { class: "tasks", role: "list" });
  #notices = h("div", { class: "notices" });
  #more = h("button", { type: "button", class: "button", hidden: true, onclick: () => this.#showMore() }, t("show-more"));
  #nothing = h("div", { class: "nothing", hidden: true });

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
      h(
        "section",
        { "aria-labelledby": "tasks" },
        h("div", { class: "over" }, h("h2", { id: "tasks" }, t("tasks")), h("div", { class: "row finding" }, this.#search, this.#statuses)),
        this.#selection.element,
        this.#nothing,
        this.#list,
        this.#more,
      ),
    );
    elsewhere.addEventListener("change", this.#uploadsChanged);
    this.watch = new Watch(() => this.#load(), (error) => this.#trouble(error));
  }

  #uploadsChanged = () => this.#show();

  stop() {
    this.watch.stop();
    elsewhere.removeEventListener("change", this.#uploadsChanged);
    this.drop.stop();
    withdraw();
  }

  async #begin(found) {
    try {
      this.#go(`/tasks/${await sendIntoNewTask(found)}`, { leftOut: found.leftOut });
    } catch (error) {
      this.#trouble(error);
    }
  }

  async #load() {
    const status = this.#status;
    const { items, next } = (await call("GET", `tasks?limit=${PAGE}${status && `&status=${status}`}`)).value;
    if (status !== this.#status) return { changed: false, goesOn: true }; // another one was chosen meanwhile
    this.#notices.replaceChildren();
    const text = JSON.stringify(items);
    const changed = text !== this.#text;
    if (changed) {
      const oldest = items.at(-1);
      const older = next ? this.#tasks.filter((task) => task.created_at < oldest.created_at) : [];
      this.#tasks = [...items, ...older];
      if (this.#text === null || !older.length) this.#next = next;
      if (this.#text === null) await this.#addUpTo(recall().rows);
      if (this.#search.value) await this.#addFound();
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
      await this.#addPage(PAGE);
    }
  }

  async #addPage(size) {
    const status = this.#status;
    const found = `tasks?limit=${size}&cursor=${encodeURIComponent(this.#next)}${status && `&status=${status}`}`;
    const { items, next } = (await call("GET", found)).value;
    if (status !== this.#status) return;
    this.#tasks.push(...items);
    this.#next = next;
  }

  // The service has no search: the page looks through one page of tasks after another until it has enough to show.
  async #addFound() {
    const wanted = this.#search.value;
    while (this.#next && wanted === this.#search.value && this.#found().length < PAGE) await this.#addPage(LARGEST_PAGE);
  }

  #found() {
    const wanted = this.#search.value.trim().toLocaleLowerCase();
    return wanted ? this.#tasks.filter((task) => nameOf(task).toLocaleLowerCase().includes(wanted)) : this.#tasks;
  }

  async #choose() {
    remember({ search: this.#search.value, status: this.#statuses.value });
    if (this.#status !== this.#statuses.value) {
      this.#status = this.#statuses.value;
      this.#text = null;
      this.#next = null;
      this.#tasks = [];
      this.watch.poke();
      return;
    }
    try {
      await this.#addFound();
      this.#show();
    } catch (error) {
      this.#trouble(error);
    }
  }

  #forget(id) {
    this.#tasks = this.#tasks.filter((task) => task.id !== id);
    this.#show();
    this.watch.poke();
  }

  #show() {
    const rows = this.#found().map((task) => this.#row(task));
    const known = new Set(this.#tasks.map((task) => task.id));
    for (const id of this.#rows.keys()) {
      if (known.has(id)) continue;
      this.#rows.delete(id);
      this.#selection.forget(id);
    }
    rows.forEach((row, position) => {
      if (this.#list.children[position] !== row) this.#list.insertBefore(row, this.#list.children[position] ?? null);
    });
    while (this.#list.children.length > rows.length) this.#list.lastElementChild.remove();
    const isSearching = Boolean(this.#search.value || this.#status);
    this.#nothing.replaceChildren(...(isSearching ? [t("nothing-found")] : [h("p", {}, t("no-tasks")), this.#samples()]));
    this.#nothing.hidden = rows.length > 0;
    this.element.querySelector(".finding").hidden = !this.#tasks.length && !isSearching;
    this.#more.hidden = !this.#next;
  }

  #row(task) {
    const row = this.#rows.get(task.id) ?? this.#newRow(task);
    const state = JSON.stringify([task, uploadingOf(task)]);
    if (row.state !== state) {
      row.state = state;
      row.preview.update(task.progress.total);
      row.element.querySelector(".which a").textContent = nameOf(task);
      row.element.querySelector(".state").replaceChildren(statusOf(task), h("span", { class: "facts" }, facts(task)));
      row.element.querySelector(".how-far").replaceChildren(
        ...(task.status === "processing" ? [bar(t("progress-of", { name: nameOf(task) }), shareDone(task))] : []),
      );
    }
    return row.element;
  }

  #newRow(task) {
    const preview = new Preview(task.id);
    const element = h(
      "li",
      { id: task.id },
      this.#selection.box(task.id, t("select-task", { name: nameOf(task) })),
      preview.element,
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
        { type: "button", class: "round", "aria-label": t("rename-task", { name: nameOf(task) }), title: t("rename"), onclick: () => this.#rename(task.id) },
        icon("pen"),
      ),
      h(
        "button",
        { type: "button", class: "round", "aria-label": t("delete-task", { name: nameOf(task) }), title: t("delete"), onclick: () => this.#delete(task.id) },
        icon("trash"),
      ),
    );
    const row = { element, preview, state: "" };
    this.#rows.set(task.id, row);
    return row;
  }

  // Sample photos for a first try, as if a person had dropped them.
  #samples() {
    return h("button", { type: "button", class: "button", onclick: () => this.#trySamples() }, icon("photos"), t("try-samples"));
  }

  async #trySamples() {
    try {
      const photos = await Promise.all(SAMPLES.map((name) => call("GET", `/static/samples/${name}`, { as: "blob" })));
      const files = photos.map(({ value }, number) => new File([value], SAMPLES[number]));
      this.#begin({ files, leftOut: "", name: t("sample-photos"), starts: true });
    } catch (error) {
      this.#trouble(error);
    }
  }

  async #rename(id) {
    try {
      if (await renameAfterQuestion(this.#tasks.find((task) => task.id === id))) this.watch.poke();
    } catch (error) {
      this.#trouble(error);
    }
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

// Returns how far the upload into a task is, in this tab or another; nothing where there is none.
function uploadingOf({ id }) {
  const own = uploadOf(id);
  const upload = own?.isSending ? own : uploadElsewhere(id);
  return upload && t("uploading-of", { done: upload.settled, total: upload.total });
}

function facts(task) {
  const { total, done, failed } = task.progress;
  const uploading = uploadingOf(task);
  if (uploading) return uploading;
  if (task.status === "processing") return t("done-of", { done: done + failed, total, count: total });
  const parts = [t("photos", { count: total })];
  if (task.status !== "forming") parts.push(t("faces", { count: task.statistics.faces }));
  if (failed) parts.push(t("failed-photos", { count: failed, number: number(failed) }));
  return parts.join(" · ");
}
