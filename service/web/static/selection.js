// The tasks that are ticked in the list, and what can be done with all of them.

import { announce, h, icon } from "./dom.js";
import { t } from "./messages.js";
import { deleteTask } from "./parts.js";
import { ask } from "./question.js";

export class Selection {
  element = h("div", { class: "row selection", role: "group", hidden: true });
  #chosen = new Set(); // ids
  #deleted;

  // `deleted` is told the id of each task that is gone.
  constructor(deleted) {
    this.#deleted = deleted;
  }

  box(id, label) {
    const box = h("input", { type: "checkbox", "aria-label": label, onchange: () => this.#choose(id, box.checked) });
    return h("label", { class: "tick" }, box);
  }

  forget(id) {
    this.#choose(id, false);
  }

  #choose(id, isChosen) {
    if (isChosen) this.#chosen.add(id);
    else this.#chosen.delete(id);
    const count = this.#chosen.size;
    this.element.hidden = !count;
    this.element.setAttribute("aria-label", t("selected", { count }));
    const remove = h("button", { type: "button", class: "button danger", onclick: () => this.#delete() }, icon("trash"), t("delete-selected"));
    this.element.replaceChildren(h("span", {}, t("selected", { count })), remove);
  }

  async #delete() {
    const ids = [...this.#chosen];
    const count = ids.length;
    if (!(await ask({ title: t("delete-several", { count }), text: t("delete-several-text"), yes: t("delete") }))) return;
    for (const id of ids) {
      await deleteTask(id);
      this.forget(id);
      this.#deleted(id);
    }
    announce(t("deleted-several", { count }));
  }
}
