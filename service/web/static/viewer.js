// One photo in large, with its faces; the arrow keys lead to the others.

import { imageAddress } from "./api.js";
import { h, icon } from "./dom.js";
import { described, overlay, summary } from "./faces.js";
import { bytes, number, t } from "./messages.js";
import { reasonOf } from "./parts.js";

export class Viewer {
  canRemove = false;
  #task;
  #images = [];
  #id = null;
  #closed;
  #remove;
  #dialog;
  #title = h("h2", { id: "viewer-title" });
  #place = h("p", { class: "place" });
  #stage = h("div", { class: "stage" });
  #panel = h("div", { class: "panel" });

  // `closed` is told the id of the photo that was shown last; `remove` takes a photo out of the task, where that can be.
  constructor(task, closed, remove) {
    this.#task = task;
    this.#closed = closed;
    this.#remove = remove;
    this.#dialog = h(
      "dialog",
      { class: "viewer", "aria-labelledby": "viewer-title", onkeydown: (event) => this.#key(event), onclose: () => this.#end() },
      h("header", {}, this.#title, this.#place, button("close", t("close"), () => this.#dialog.close())),
      h(
        "div",
        { class: "around" },
        button("back", t("previous-photo"), () => this.#step(-1)),
        this.#stage,
        button("next", t("next-photo"), () => this.#step(1)),
      ),
      this.#panel,
    );
  }

  get isOpen() {
    return this.#dialog.open;
  }

  open(images, id) {
    document.body.append(this.#dialog);
    this.#dialog.showModal();
    this.#images = images;
    this.#show(id);
  }

  // Shows what has changed, without another load of the picture.
  update(images) {
    const before = this.#image();
    this.#images = images;
    const image = this.#image();
    if (!image) this.#dialog.close();
    else if (image.status !== before?.status) this.#draw(image);
    else this.#tell(image);
  }

  #image() {
    return this.#images.find((image) => image.id === this.#id);
  }

  #show(id) {
    this.#id = id;
    const image = this.#image();
    const address = imageAddress(this.#task, id);
    const picture = h("img", { alt: summary(image), src: `${address}/content` });
    const thumbnail = h("img", { alt: "", class: "before", src: `${address}/thumbnail` });
    const frame = h("div", { class: "frame", "--own": image.width / image.height }, thumbnail, picture);
    picture.onload = () => {
      // A browser that does not turn this kind of file as its metadata says would show it beside its boxes.
      if (Math.abs(picture.naturalWidth / picture.naturalHeight - image.width / image.height) < 0.02) thumbnail.remove();
      else picture.remove();
    };
    this.#stage.replaceChildren(frame);
    this.#draw(image);
    for (const by of [1, -1]) {
      const neighbour = this.#images[this.#images.indexOf(image) + by];
      if (neighbour) new Image().src = `${imageAddress(this.#task, neighbour.id)}/thumbnail`;
    }
  }

  #draw(image) {
    const frame = this.#stage.firstElementChild;
    frame.querySelector(".overlay")?.remove();
    frame.append(overlay(image, true));
    this.#tell(image);
  }

  #tell(image) {
    const position = this.#images.indexOf(image);
    this.#title.textContent = image.name;
    this.#place.textContent = t("place", { position: position + 1, total: this.#images.length });
    const [back, next] = this.#dialog.querySelectorAll(".around > button");
    back.disabled = position === 0;
    next.disabled = position === this.#images.length - 1;
    this.#panel.replaceChildren(...this.#words(image));
  }

  #words(image) {
    const size = t("photo-size", { width: number(image.width), height: number(image.height), size: bytes(image.size) });
    const original = `${imageAddress(this.#task, image.id)}/content`;
    return [
      people(image, (face) => this.#light(face)),
      h(
        "p",
        { class: "about" },
        size,
        h("a", { href: original, download: image.name }, icon("down"), t("original")),
        this.canRemove && h("button", { type: "button", class: "plain", onclick: () => this.#takeOut(image) }, icon("trash"), t("remove-photo")),
      ),
    ];
  }

  #light(face) {
    for (const mark of this.#stage.querySelectorAll("[data-face]")) {
      mark.classList.toggle("dimmed", face !== null && mark.dataset.face !== String(face));
    }
  }

  async #takeOut(image) {
    await this.#remove(image);
    this.#dialog.querySelector("header button").focus();
  }

  #step(by) {
    const image = this.#images[this.#images.indexOf(this.#image()) + by];
    if (!image) return;
    const wasAtTheEnd = document.activeElement;
    this.#show(image.id);
    // A button that has just been disabled would lose the focus to nowhere, and the keys with it.
    if (wasAtTheEnd?.disabled) this.#dialog.querySelector("header button").focus();
  }

  #key(event) {
    const last = this.#images.length;
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -last, End: last }[event.key];
    if (!by) return;
    event.preventDefault();
    const to = Math.min(last - 1, Math.max(0, this.#images.indexOf(this.#image()) + by));
    this.#step(to - this.#images.indexOf(this.#image()));
  }

  #end() {
    this.#dialog.remove();
    this.#stage.replaceChildren();
    this.#closed(this.#id);
  }
}

function button(name, text, act) {
  return h("button", { type: "button", class: "round", "aria-label": text, title: text, onclick: act }, icon(name));
}

function people(image, light) {
  if (image.status === "failed") {
    return h("p", { class: "reason" }, icon("warning"), reasonOf(image.error));
  }
  if (image.status === "pending") return h("p", {}, image.error ? reasonOf(image.error) : t("not-looked-at"));
  if (!image.faces.length) return h("p", {}, t("no-face-here"));
  const items = image.faces.map((face, position) =>
    h(
      "li",
      { onpointerenter: () => light(position), onpointerleave: () => light(null) },
      h("i", { class: `swatch ${face.gender}` }),
      described(face),
    ),
  );
  return h("ol", { class: "people", "aria-label": t("people-here") }, items);
}
