// The keys of the large view, shown by `?`.

import { h } from "./dom.js";
import { t } from "./messages.js";

export function showKeys() {
  const rows = [
    ["← →", t("keys-step")],
    ["Home End", t("keys-ends")],
    ["+ −", t("keys-zoom")],
    ["0", t("keys-fit")],
    ["1", t("keys-original")],
    ["Shift + ← → ↑ ↓", t("keys-move")],
    ["Esc", t("keys-close")],
  ].flatMap(([keys, text]) => [h("dt", {}, h("kbd", {}, keys)), h("dd", {}, text)]);
  const close = h("button", { class: "button", autofocus: true }, t("close"));
  const dialog = h(
    "dialog",
    { class: "question keys-shown", "aria-labelledby": "keys-title" },
    h("h2", { id: "keys-title" }, t("keys-title")),
    h("dl", {}, rows),
    h("form", { method: "dialog", class: "row end" }, close),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
