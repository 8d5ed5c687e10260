// The page of tools: a card for each of the other systems, to try it without a document.

import { copiesCard } from "./copies.js";
import { h } from "../dom.js";
import { editsCard } from "./edits.js";
import { t } from "../messages.js";
import { questionsCard } from "./questions.js";
import { recordingsCard } from "./recordings.js";
import { renditionsCard } from "./renditions.js";

export class ToolsView {
  title = t("tools-title");
  drawn = Promise.resolve();
  #stopping = new AbortController();

  constructor() {
    const { signal } = this.#stopping;
    const cards = [copiesCard, editsCard, renditionsCard, recordingsCard, questionsCard].map((make) => make(signal).element);
    this.element = h(
      "div",
      { class: "view" },
      h("div", { class: "lead" }, h("h1", { tabindex: -1 }, t("tools-title")), h("p", {}, t("tools-lead"))),
      h("div", { class: "tools" }, cards),
    );
    // A file that misses its card must not take the place of the page.
    for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault(), { signal });
  }

  stop() {
    this.#stopping.abort();
  }
}
