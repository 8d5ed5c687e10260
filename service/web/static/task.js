// One task: its photos and what was found in them, from the upload to the download.

import { call, imageAddress, Refusal, taskAddress, TaskCopy, Watch } from "./api.js";
import { ALL, countedAbove, hasProbabilities, slider } from "./certainty.js";
import { statistics } from "./charts.js";
import { Checking } from "./checking.js";
import { announce, h, icon } from "./dom.js";
import { DropZone } from "./drop.js";
import { Grid } from "./grid.js";
import { dropManifest, readManifest } from "./manifest.js";
import { number, percent, t } from "./messages.js";
import { deleteAfterQuestion, nameOf, notice, reasonOf, renameAfterQuestion, sentence, shareDone, statusOf } from "./parts.js";
import { askAgain } from "./pictures.js";
import { enter, move, pageOf, recall, remember } from "./place.js";
import { withdraw } from "./question.js";
import { interrupted, reasons, refusals, sending, showPace } from "./sending.js";
import { elsewhere, uploadElsewhere } from "./tabs.js";
import { byReason, downloads, facts, names, working } from "./task-parts.js";
import { send, sendIntoNewTask, uploadOf } from "./upload.js";
import { Viewer } from "./viewer.js";

const FILTERS = {
  all: () => true,
  faces: (image) => image.faces.length > 0,
  none: (image) => image.status === "done" && !image.faces.length,
  failed: (image) => image.status === "failed",
};
const PARTS = ["head", "notices", "sending", "working", "failed", "adding", "numbers", "certainty", "checking", "photos"];
const WAIT_SECONDS = 20;

export class TaskView {
  title = "";
  #id;
  #go;
  #copy;
  #task = null;
  #filter = recall().filter ?? "all";
  #above = ALL; // percent
  #upload = null;
  #drop = null;
  #trouble = null;
  #complaint = null;
  #leftOut;
  #parts = Object.fromEntries(
    PARTS.map((name) => [name, h("div", { class: name })]),
  );
  #shownIn = {};
  #hasDrawn;
  drawn = new Promise((resolve) => {
    this.#hasDrawn = resolve;
  });

  constructor(go, id, { leftOut = "" } = {}) {
    this.#id = id;
    this.#copy = new TaskCopy(id);
    this.#go = go;
    this.#leftOut = leftOut;
    const parts = Object.values(this.#parts);
    this.checking = new Checking(id, go);
    this.#parts.checking.append(this.checking.element);
    this.#parts.choices = h("div", { class: "row choices", role: "group", "aria-label": t("filter") });
    this.element = h("div", { class: "view" }, h("a", { class: "back", href: "/tasks" }, icon("back"), t("all-tasks")), parts);
    this.grid = new Grid(id, (image) => this.#enlarge(image));
    this.viewer = new Viewer(id, (image) => this.grid.focus(image), (image) => this.#takeOut(image));
    this.watch = new Watch(() => this.#load(), (error) => this.#refused(error));
    this.#follow();
  }

  stop() {
    this.watch.stop();
    this.#copy.stop();
    this.#drop?.stop();
    this.grid.stop();
    this.#unfollow();
    this.viewer.leave();
    withdraw();
  }

  // Opens the photo of the present address, or closes the one that is open. `isOpened` where the entry before is the task.
  turnTo({ photo, isOpened }) {
    if (!this.#task) return;
    if (!photo) this.viewer.leave();
    else if (this.#shown().some((image) => image.id === photo)) this.viewer.open(this.#shown(), photo, isOpened);
    else if (isOpened) history.back();
    else move(pageOf(this.#id));
  }

  // --- what the service says

  async #load() {
    const { changed, hasWaited } = await this.#copy.refresh(this.#task?.status === "processing" ? WAIT_SECONDS : 0);
    this.#settleTrouble();
    if (changed) {
      const before = this.#task?.status;
      this.#task = this.#copy.value;
      this.#draw();
      this.#showInterrupted();
      this.#tellAloud(before);
      this.#hasDrawn();
    }
    const isAtRest = ["completed", "error"].includes(this.#task.status);
    return { changed, hasWaited, goesOn: !isAtRest };
  }

  #refused(error) {
    if (error.status === 404) {
      this.#gone(error);
      return false;
    }
    this.#complain(error);
    return true;
  }

  #complain(error) {
    if (!(error instanceof Refusal)) throw error;
    this.#trouble?.remove();
    this.#complaint = error;
    if (this.#uploadTells(error)) return;
    this.#trouble = notice("danger", h("p", {}, sentence(error)));
    this.#parts.notices.prepend(this.#trouble);
  }

  #settleTrouble() {
    if (!this.#trouble) return;
    askAgain();
    this.#trouble.remove();
    this.#trouble = this.#complaint = null;
  }

  #uploadTells({ status, detail }) {
    const { state, problem } = this.#upload ?? {};
    return (state === "offline" && !detail) || (state === "stopped" && problem?.status === status && problem.detail === detail);
  }

  #gone(error) {
    dropManifest(this.#id);
    this.viewer.close();
    this.stop();
    this.#task = null;
    this.title = t("gone-title");
    document.dispatchEvent(new Event("titled"));
    this.element.replaceChildren(
      h("div", { class: "nothing" }, h("h1", { tabindex: -1 }, t("gone-title")), h("p", {}, sentence(error)), h("a", { class: "button primary", href: "/tasks" }, t("all-tasks"))),
    );
  }

  // --- what is shown; each part is made anew only when what it shows has changed

  #draw() {
    const task = this.#task;
    const { total, failed } = task.progress;
    this.title = task.status === "processing" ? `${percent(shareDone(task))} · ${nameOf(task)}` : nameOf(task);
    document.dispatchEvent(new Event("titled"));
    const isSending = Boolean(this.#upload?.isSending);
    this.#part("head", [task.name, task.status, task.finished_at, total, isSending], () => this.#head());
    this.#part("notices", [this.#leftOut], () => (this.#leftOut ? [notice("quiet", h("p", {}, this.#leftOut))] : []));
    const waiting = task.images.findLast((image) => image.status === "pending" && image.error);
    this.#part("working", [task.status, task.progress, task.waiting_for, waiting?.error], () => working(task, waiting));
    this.#part("failed", [task.status, failed], () => this.#failures());
    this.#part("adding", [task.status], () => this.#adding());
    this.#part("numbers", [task.status === "forming", task.progress.done, task.statistics, this.#above], () => this.#numbers());
    this.#part("certainty", [task.status !== "forming" && hasProbabilities(task)], () => this.#certainty());
    this.checking.update(task);
    this.#part("photos", [total > 0, task.status === "forming"], () => this.#photos());
    this.#part("choices", [task.status === "forming", ...this.#filterCounts(), this.#filter], () => this.#choices());
    this.grid.update(this.#shown(), task.status === "processing");
    if (this.viewer.isOpen) this.viewer.update(this.#shown());
  }

  #part(name, shows, make) {
    const text = JSON.stringify(shows);
    if (this.#shownIn[name] === text) return;
    this.#shownIn[name] = text;
    const part = this.#parts[name];
    const focused = part.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const isUnfolded = part.querySelector("details")?.open;
    part.replaceChildren(...make());
    if (isUnfolded) part.querySelector("details")?.setAttribute("open", "");
    if (focused) (part.querySelector(`[data-focus="${focused}"]`) ?? this.element.querySelector("h1")).focus();
  }

  #head() {
    const task = this.#task;
    const isForming = task.status === "forming";
    return [
      h("div", { class: "naming" }, h("h1", { tabindex: -1 }, nameOf(task)), h("p", { class: "facts" }, statusOf(task), h("span", {}, facts(task)))),
      h(
        "div",
        { class: "row actions" },
        isForming && this.#startButton(),
        task.status === "processing" && h("button", { type: "button", class: "button", "data-focus": "stop-task", onclick: () => this.#stop() }, t("stop-task")),
        ["completed", "error"].includes(task.status) && downloads(task),
        h("button", { type: "button", class: "button quiet", "data-focus": "rename", onclick: () => this.#rename() }, icon("pen"), t("rename")),
        h("button", { type: "button", class: "button quiet", "data-focus": "delete", onclick: () => this.#delete() }, icon("trash"), t("delete")),
      ),
    ];
  }

  #startButton() {
    const disabled = !this.#task.progress.total || Boolean(this.#upload?.isSending);
    return h("button", { type: "button", class: "button primary", "data-focus": "start", disabled, onclick: () => this.#start() }, icon("play"), t("start"));
  }

  #failures() {
    const failed = this.#task.images.filter(FILTERS.failed);
    if (!failed.length || this.#task.status === "processing") return [];
    const items = [...byReason(failed).values()].map((images) =>
      h("li", {}, h("p", {}, reasonOf(images[0].error)), h("p", { class: "names" }, names(images))),
    );
    return [
      h(
        "section",
        { class: "notice danger", "aria-labelledby": "failed-title" },
        icon("warning"),
        h("div", {}, h("h2", { id: "failed-title" }, t("failed-title", { count: failed.length })), reasons(items)),
        h("button", { type: "button", class: "button", "data-focus": "retry", onclick: () => this.#start() }, icon("again"), t("try-again", { count: failed.length })),
      ),
    ];
  }

  #adding() {
    this.#drop?.stop();
    this.#drop = null;
    this.viewer.canRemove = this.#task.status === "forming";
    if (this.viewer.canRemove) {
      this.#drop = new DropZone({ isNew: false, take: (found) => this.#add(found) });
      return [this.#drop.element];
    }
    // What is dropped or pasted here cannot join the task any more: it begins a new one.
    this.#drop = new DropZone({ isNew: true, take: (found) => this.#beginNew(found) });
    return [];
  }

  #numbers() {
    if (this.#task.status === "forming") return [];
    return [h("section", { class: "sheet", "aria-labelledby": "numbers" }, h("h2", { id: "numbers", class: "unseen" }, t("statistics")), statistics(countedAbove(this.#task, this.#above)))];
  }

  #certainty() {
    if (this.#task.status === "forming" || !hasProbabilities(this.#task)) return [];
    const change = (percent) => {
      this.#above = percent;
      this.#draw();
    };
    return [slider(this.#above, change)];
  }

  // The grid stays where it is as long as there are photos: to put it in anew would lay out thousands of cards.
  #photos() {
    if (!this.#task.images.length) {
      return this.#task.status === "forming" ? [h("p", { class: "nothing" }, t("no-photos-yet"))] : [];
    }
    return [
      h(
        "section",
        { "aria-labelledby": "photos" },
        h("div", { class: "over" }, h("h2", { id: "photos" }, t("photos-title")), this.#parts.choices, this.#toFaces()),
        this.grid.element,
      ),
    ];
  }

  #toFaces() {
    return h("a", { class: "button quiet", href: `/tasks/${this.#id}/faces` }, icon("faces"), t("all-faces"));
  }

  #choices() {
    if (this.#task.status === "forming") return [];
    const counts = this.#filterCounts();
    return Object.keys(FILTERS)
      .filter((name, position) => name === "all" || name === this.#filter || counts[position])
      .map((name) =>
        h(
          "button",
          { type: "button", class: "choice", "aria-pressed": String(name === this.#filter), "data-focus": name, onclick: () => this.#choose(name) },
          t(`filter-${name}`),
          h("small", {}, number(counts[Object.keys(FILTERS).indexOf(name)])),
        ),
      );
  }

  #filterCounts() {
    return Object.values(FILTERS).map((fits) => this.#task.images.filter(fits).length);
  }

  #shown() {
    return countedAbove(this.#task, this.#above).images.filter(FILTERS[this.#filter]);
  }

  #choose(name) {
    this.#filter = name;
    remember({ filter: name });
    this.#draw();
  }

  #tellAloud(before) {
    const { status, progress } = this.#task;
    if (status === "processing") {
      const quarter = Math.floor(4 * shareDone(this.#task)) / 4;
      announce(t("announce-processing", { share: percent(quarter) }));
    } else if (before === "processing") {
      const faces = t("faces", { count: this.#task.statistics.faces });
      announce(t(status === "completed" ? "announce-completed" : "announce-error", { faces, failed: progress.failed }));
    }
  }

  // --- what a person does

  #enlarge(photo) {
    enter(pageOf(this.#id, photo), { isOpened: true, filter: this.#filter });
    this.viewer.open(this.#shown(), photo, true);
  }

  async #start() {
    try {
      await call("POST", `${taskAddress(this.#id)}/start`);
      this.#choose("all");
      this.element.querySelector("h1").focus();
      this.watch.poke();
    } catch (error) {
      this.#complain(error);
    }
  }

  async #stop() {
    try {
      await call("POST", `${taskAddress(this.#id)}/stop`);
      this.element.querySelector("h1").focus();
      this.watch.poke();
    } catch (error) {
      this.#complain(error);
    }
  }

  async #rename() {
    try {
      if (await renameAfterQuestion(this.#task)) this.watch.poke();
    } catch (error) {
      this.#complain(error);
    }
  }

  async #delete() {
    try {
      if (!(await deleteAfterQuestion(this.#task))) return;
      announce(t("deleted", { name: nameOf(this.#task) }));
      this.#go("/tasks");
    } catch (error) {
      this.#complain(error);
    }
  }

  async #beginNew(found) {
    try {
      this.#go(`/tasks/${await sendIntoNewTask(found)}`, { leftOut: found.leftOut });
    } catch (error) {
      this.#complain(error);
    }
  }

  #add({ files, leftOut, starts }) {
    this.#leftOut = leftOut;
    send(this.#id, files, starts);
    this.#follow();
  }

  async #takeOut(image) {
    try {
      await call("DELETE", imageAddress(this.#id, image.id));
      const images = this.#task.images.filter((one) => one.id !== image.id);
      const progress = { ...this.#task.progress, total: images.length, pending: images.length };
      this.#task = { ...this.#task, images, progress };
      this.#draw();
      this.watch.poke();
    } catch (error) {
      this.#complain(error);
    }
  }

  // --- the upload into this task, if there is one

  #follow() {
    this.#unfollow();
    this.#upload = uploadOf(this.#id) ?? null;
    this.#upload?.addEventListener("change", this.#uploadChanged);
    elsewhere.addEventListener("change", this.#showInterrupted);
    this.#upload?.addEventListener("settled", this.#uploadSettled);
    this.#uploadChanged();
  }

  #unfollow() {
    elsewhere.removeEventListener("change", this.#showInterrupted);
    this.#upload?.removeEventListener("change", this.#uploadChanged);
    this.#upload?.removeEventListener("settled", this.#uploadSettled);
  }

  #uploadSettled = () => this.watch.poke();

  // Without an upload of this tab: what another one sends, and what an earlier visit left.
  #showInterrupted = async () => {
    if (this.#upload) return;
    const manifest = await readManifest(this.#id);
    const other = uploadElsewhere(this.#id);
    if (this.#upload) return;
    const isForming = this.#task?.status === "forming";
    const refused = manifest?.refused ?? [];
    const shown = () => [...(isForming ? interrupted(manifest, other) : []), ...refusals(refused)];
    this.#part("sending", [isForming, manifest, other?.settled], shown);
  };

  async #moveOn() {
    try {
      const upload = this.#upload;
      const files = await upload.takeRest();
      this.#go(`/tasks/${await sendIntoNewTask({ files, name: this.#task.name, starts: upload.startsAfterwards })}`);
    } catch (error) {
      this.#complain(error);
    }
  }

  // None of the files was accepted, and the new task is gone.
  #showEmpty(refused) {
    this.stop();
    this.#task = null;
    this.title = t("nothing-accepted");
    document.dispatchEvent(new Event("titled"));
    this.element.replaceChildren(
      h("div", { class: "nothing" }, h("h1", { tabindex: -1 }, t("nothing-accepted")), h("a", { class: "button primary", href: "/tasks" }, t("all-tasks"))),
      ...refusals(refused),
    );
  }

  #uploadChanged = () => {
    const upload = this.#upload;
    if (!upload) {
      this.#showInterrupted();
      return;
    }
    if (upload.state === "empty") {
      this.#showEmpty(upload.refused);
      return;
    }
    this.#showSending(upload);
    if (this.#complaint && this.#uploadTells(this.#complaint)) this.#trouble?.remove();
    if (this.#task) this.#draw();
    if (upload.state === "done") this.watch.poke();
  };

  #showSending(upload) {
    const { state, refused, problem } = upload;
    this.#part("sending", [state, refused.length, problem?.detail ?? null], () => [...sending(upload, () => this.#moveOn()), ...refusals(refused)]);
    if (!upload.isSending) return;
    showPace(this.#parts.sending, upload);
    const quarter = Math.floor(4 * upload.share) / 4;
    announce(t("announce-sending", { share: percent(quarter) }));
  }
}
