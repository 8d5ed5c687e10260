// The question before something goes for good.

import { h } from "./dom.js";
import { t } from "./messages.js";

// Takes back a question that nobody has answered.
export function withdraw() {
  document.querySelector("dialog.question")?.close();
}

export function ask({ title, text, yes }) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { class: "question", role: "alertdialog", "aria-labelledby": "question-title", "aria-describedby": "question-text" },
      h("h2", { id: "question-title" }, title),
      h("p", { id: "question-text" }, text),
      h(
        "form",
        { method: "dialog", class: "row end" },
        h("button", { class: "button", value: "no", autofocus: true }, t("cancel")),
        h("button", { class: "button danger", value: "yes" }, yes),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
