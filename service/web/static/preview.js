// The first photos of a task, small, for its row in the list. They are asked for when the row comes near the window.

import { call, imageAddress, taskAddress } from "./api.js";
import { h } from "./dom.js";

const SHOWN = 4;

export class Preview {
  element = h("span", { class: "preview", "aria-hidden": "true" });
  #task;
  #wanted = 0;
  #shown = 0;
  #isNear = false;
  static #near = new IntersectionObserver(
    (seen) => seen.forEach(({ target, isIntersecting }) => isIntersecting && target.dispatchEvent(new Event("near"))),
    { rootMargin: "400px" },
  );

  constructor(task) {
    this.#task = task;
    this.element.addEventListener("near", () => {
      Preview.#near.unobserve(this.element);
      this.#isNear = true;
      this.#load();
    });
    Preview.#near.observe(this.element);
  }

  // The task has so many photos now.
  update(total) {
    this.#wanted = Math.min(SHOWN, total);
    this.#load();
  }

  async #load() {
    if (!this.#isNear || this.#wanted === this.#shown) return;
    this.#shown = this.#wanted;
    try {
      const { items } = (await call("GET", `${taskAddress(this.#task)}/images?limit=${SHOWN}`)).value;
      this.element.replaceChildren(
        ...items.map(({ id }) => h("img", { src: `${imageAddress(this.#task, id)}/thumbnail`, alt: "", width: 44, height: 44, loading: "lazy" })),
      );
    } catch {
      this.#shown = 0; // the row itself says what is wrong
    }
  }
}
