// A card of the page of tools: what goes in, what comes out, and the requests that were made, as curl commands.

import { call, Refusal } from "../api.js";
import { curl } from "./curl.js";
import { h, icon } from "../dom.js";
import { t } from "../messages.js";
import { notice, sentence } from "../parts.js";

const SOONEST = 250;
const LATEST = 2000;

export class Card {
  #signal;
  #result = h("div", { class: "outcome", role: "status" });
  #commands = h("code", { tabindex: 0 });
  #requests = h("details", { class: "requests", hidden: true });
  #lines = [];

  // The work of the card ends with the signal.
  constructor(signal, { id, title, about, parts }) {
    this.#signal = signal;
    const copy = h("button", { type: "button", class: "button", onclick: () => this.#copy(copy) }, t("copy"));
    this.#requests.append(h("summary", {}, t("as-curl")), h("pre", {}, this.#commands), copy);
    this.element = h(
      "section",
      { class: "sheet tool", id, "aria-labelledby": `${id}-title` },
      h("h2", { id: `${id}-title` }, title),
      h("p", { class: "about" }, about),
      parts,
      this.#result,
      this.#requests,
    );
  }

  // Does the work, and shows the elements that it returns, or why it was refused.
  async run(work) {
    if (this.element.ariaBusy === "true") return;
    this.element.ariaBusy = "true";
    this.#lines = [];
    this.#result.replaceChildren(h("p", {}, t("working")));
    try {
      this.#show(await work());
    } catch (error) {
      if (this.#signal.aborted) return;
      if (!(error instanceof Refusal)) throw error;
      this.#show([notice("warning", h("p", {}, sentence(error)))]);
    } finally {
      this.element.ariaBusy = "false";
    }
  }

  // Makes a call that is shown as a command, and returns its answer's value.
  async call(method, path, options = {}) {
    this.#lines.push(curl(method, path, options));
    return (await call(method, path, options)).value;
  }

  // Asks until the answer is final.
  async until(isFinal, path, options = {}) {
    this.#lines.push(curl("GET", path, options));
    for (let pause = SOONEST; ; pause = Math.min(LATEST, pause * 1.5)) {
      const { value } = await call("GET", path, options);
      if (isFinal(value)) return value;
      await new Promise((resolve) => setTimeout(resolve, pause));
      this.#signal.throwIfAborted();
    }
  }

  #show(elements) {
    this.#result.replaceChildren(...elements);
    this.#commands.textContent = this.#lines.join("\n");
    this.#requests.hidden = !this.#lines.length;
  }

  // Without a secure context there is no clipboard to write to: the commands are selected instead.
  async #copy(button) {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(this.#commands.textContent);
      button.textContent = t("copied");
    } else {
      getSelection().selectAllChildren(this.#commands);
    }
  }
}

// Returns a place to drop files or to choose them; `take` is given those of one drop.
export function fileZone({ label, accept, multiple = false, take }) {
  const input = h("input", { type: "file", accept, multiple, hidden: true, "aria-label": label });
  const hand = (files) => files.length && take(multiple ? [...files] : [files[0]]);
  input.addEventListener("change", () => {
    hand(input.files);
    input.value = "";
  });
  const zone = h(
    "div",
    { class: "drop zone" },
    h("button", { type: "button", class: "button", onclick: () => input.click() }, icon("upload"), label),
    h("span", { class: "hint" }, t("or-drop")),
    input,
  );
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over-it");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over-it"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over-it");
    hand(event.dataTransfer.files);
  });
  return zone;
}

export function field(label, attributes) {
  return h("label", { class: "field" }, h("span", {}, label), h("input", attributes));
}

// Returns a picture with its caption.
export function shot(address, caption) {
  return h("figure", { class: "shot" }, h("img", { src: address, alt: caption, loading: "lazy" }), h("figcaption", {}, caption));
}

// Returns the refusal of what the service could not work on.
export function failed(error) {
  return new Refusal(422, error ?? {});
}
