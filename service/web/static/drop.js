// Where photos come in: dropped anywhere on the page, or picked.

import { h, icon } from "./dom.js";
import { fromDrop, fromPicker } from "./files.js";
import { days, t } from "./messages.js";

const ACCEPTED = "image/jpeg,image/png,image/webp,image/heic,image/heif,image/avif,.heic,.heif,.avif";

export class DropZone {
  #take;
  #depth = 0;
  #veil = h("div", { class: "veil", "aria-hidden": "true" }, h("p", {}, icon("upload"), t("let-go")));
  #name = h("input", { type: "text", id: "task-name", maxlength: 200, autocomplete: "off" });
  #starts = h("input", { type: "checkbox", id: "start-when-uploaded", checked: true });
  #note = h("p", { class: "note", role: "status" });

  // `take` is given {files, folder, name, starts}. `isNew` asks for a name, which a task gets when it is made.
  constructor({ isNew, take }) {
    this.#take = take;
    const pick = this.#picker("pick-photos", "photos", { accept: ACCEPTED }, isNew ? "primary" : "");
    const folder = this.#picker("pick-folder", "folder", { webkitdirectory: true }, "");
    this.element = h(
      "section",
      { class: isNew ? "drop" : "drop small", "aria-label": t("add-photos") },
      h("p", { class: "invitation" }, icon("upload"), h("span", {}, t(isNew ? "drop-here" : "drop-more"))),
      h("div", { class: "row" }, pick, folder),
      h(
        "div",
        { class: "row options" },
        isNew && h("label", { class: "field", for: "task-name" }, h("span", {}, t("name-of-task")), this.#name),
        h("label", { class: "check", for: "start-when-uploaded" }, this.#starts, t("start-when-uploaded")),
      ),
      this.#note,
    );
    this.#listen("addEventListener");
  }

  stop() {
    this.#listen("removeEventListener");
    this.#veil.remove();
  }

  say(text) {
    this.#note.textContent = text;
  }

  #picker(text, picture, attributes, kind) {
    const input = h("input", { type: "file", multiple: true, hidden: true, "aria-label": t(text), ...attributes });
    input.addEventListener("change", () => this.#hand(fromPicker(input)));
    const button = h("button", { type: "button", class: `button ${kind}`, onclick: () => input.click() }, icon(picture), t(text));
    return h("span", {}, button, input);
  }

  #listen(how) {
    for (const [name, listener] of Object.entries(this.#listeners)) window[how](name, listener);
  }

  #listeners = {
    dragenter: (event) => {
      if (!hasFiles(event)) return;
      this.#depth += 1;
      document.body.append(this.#veil);
    },
    dragleave: (event) => {
      if (!hasFiles(event)) return;
      this.#depth -= 1;
      if (this.#depth <= 0) this.#veil.remove();
    },
    dragover: (event) => {
      if (hasFiles(event)) event.preventDefault();
    },
    paste: (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) this.#hand({ files, others: 0, folder: null });
    },
    drop: async (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.#depth = 0;
      this.#veil.remove();
      this.#hand(await fromDrop(event.dataTransfer));
    },
  };

  #hand({ files, others, folder }) {
    const leftOut = others ? t("left-out", { count: others }) : "";
    this.say(files.length ? leftOut : `${t("no-photo-there")} ${leftOut}`);
    if (files.length) this.#take({ files, leftOut, name: this.#name.value.trim() || folder || nameByDate(files), starts: this.#starts.checked });
  }
}

// Returns a name by the days on which the photos were last changed, which cameras take them for.
function nameByDate(files) {
  const times = files.map((file) => file.lastModified);
  return t("photos-of", { days: days(Math.min(...times), Math.max(...times)) });
}

function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}
