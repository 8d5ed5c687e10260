// The question before something goes for good.

import { h } from "./dom.js";
import { t } from "./messages.js";

// Takes back a question that nobody has answered.
export function withdraw() {
  document.querySelector("dialog.question")?.close();
}

export function ask({ title, text, yes }) {
  const content = h("p", { id: "question-text" }, text);
  return answerOf({ title, content, yes, kind: "danger", role: "alertdialog" });
}

// Returns the text that a person gave, or null where the question was taken back.
export async function askText({ title, label, value, yes, most }) {
  const input = h("input", { type: "text", value, maxlength: most, autofocus: true, autocomplete: "off" });
  const content = h("label", { class: "field", id: "question-text" }, h("span", {}, label), input);
  return (await answerOf({ title, content, yes, kind: "primary", role: "dialog" })) ? input.value : null;
}

function answerOf({ title, content, yes, kind, role }) {
  return new Promise((resolve) => {
    const no = h("button", { type: "button", class: "button", autofocus: kind === "danger", onclick: () => dialog.close("no") }, t("cancel"));
    const dialog = h(
      "dialog",
      { class: "question", role, "aria-labelledby": "question-title", "aria-describedby": "question-text" },
      h("h2", { id: "question-title" }, title),
      h("form", { method: "dialog" }, content, h("div", { class: "row end" }, no, h("button", { class: `button ${kind}`, value: "yes" }, yes))),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
