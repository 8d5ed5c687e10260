// The part of a task's page that leads to a review: draws a sample, goes on with one, shows what it tells.

import { call, Refusal, taskAddress } from "./api.js";
import { h, icon } from "./dom.js";
import { estimatesTable } from "./estimates.js";
import { moment, t } from "./messages.js";
import { notice, sentence } from "./parts.js";

const USUAL = 200;
const MOST = 2000;

export class Checking {
  element = h("section", { class: "sheet checking", "aria-labelledby": "checking-title", hidden: true });
  #id;
  #go;
  #shown = null;

  constructor(id, go) {
    this.#id = id;
    this.#go = go;
  }

  // Shows itself once the task has ended with photos that are done, and asks for its reviews when the task has changed.
  async update(task) {
    this.element.hidden = task.status === "forming" || task.status === "processing" || !task.progress.done;
    const state = JSON.stringify([task.status, task.progress.done, task.statistics]);
    if (this.element.hidden || this.#shown === state) return;
    this.#shown = state;
    try {
      await this.#draw(task);
    } catch (error) {
      this.#complain(error);
    }
  }

  async #draw(task) {
    const reviews = `${taskAddress(this.#id)}/reviews`;
    const { value: list } = await call("GET", `${reviews}?limit=5`);
    const [newest] = list.items;
    const estimates = newest && (await call("GET", `${reviews}/${newest.id}/estimates`)).value;
    this.element.replaceChildren(
      h("h2", { id: "checking-title" }, t("checking-title")),
      h("p", { class: "quiet" }, t("checking-lead")),
      h("ul", { class: "reviews", role: "list" }, list.items.map((review) => this.#review(review))),
      newest ? estimatesTable(estimates) : "",
      this.#form(Math.min(USUAL, task.progress.done), Math.min(MOST, task.progress.done), !newest),
    );
  }

  #review(review) {
    const text = t(review.reviewed < review.photos ? "review-go-on" : "review-look", { reviewed: review.reviewed, photos: review.photos });
    return h("li", {}, h("a", { class: "button", href: `/tasks/${this.#id}/review/${review.id}` }, icon("done"), text), h("small", {}, moment(review.created_at)));
  }

  #form(usual, most, isFirst) {
    const photos = h("input", { type: "number", name: "photos", min: 1, max: most, value: usual, required: true, inputmode: "numeric" });
    return h(
      "form",
      { class: "row", onsubmit: (event) => this.#begin(event, Number(photos.value)) },
      h("label", { class: "field" }, t("photos-to-check"), photos),
      h("button", { type: "submit", class: isFirst ? "button primary" : "button" }, t("check-a-sample")),
    );
  }

  async #begin(event, photos) {
    event.preventDefault();
    try {
      const { value } = await call("POST", `${taskAddress(this.#id)}/reviews`, { json: { photos } });
      this.#go(`/tasks/${this.#id}/review/${value.id}`);
    } catch (error) {
      this.#complain(error);
    }
  }

  #complain(error) {
    if (!(error instanceof Refusal)) throw error;
    this.#shown = null;
    this.element.querySelector(".notice")?.remove();
    this.element.append(notice("danger", h("p", {}, sentence(error))));
  }
}
