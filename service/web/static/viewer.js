// One photo in large, with its faces; the arrow keys lead to the others.

import { imageAddress } from "./api.js";
import { h, icon } from "./dom.js";
import { MANY, overlay, summary } from "./faces.js";
import { showKeys } from "./keys.js";
import { placeLabels } from "./labels.js";
import { bytes, number, t } from "./messages.js";
import { people } from "./people.js";
import { move, pageOf } from "./place.js";
import { Zoom } from "./zoom.js";

export class Viewer {
  canRemove = false;
  #goBack = null; // what leads back to the address of the task, when a person closes it
  #task;
  #images = [];
  #id = null;
  #closed;
  #remove;
  #dialog;
  #title = h("h2", { id: "viewer-title" });
  #place = h("p", { class: "place" });
  #stage = h("div", { class: "stage", onclick: (event) => this.#pick(event), onpointerover: (event) => this.#point(event), onpointerleave: () => this.#light(null) });
  #zoom = new Zoom(this.#stage, { onSwipe: (by) => this.#step(by), onChange: () => this.#placeLabels() });
  #panel = h("div", { class: "panel" });

  // `closed` is told the id of the photo that was shown last; `remove` takes a photo out of the task, where that can be.
  constructor(task, closed, remove) {
    this.#task = task;
    this.#closed = closed;
    this.#remove = remove;
    this.#dialog = h(
      "dialog",
      { class: "viewer", "aria-labelledby": "viewer-title", onkeydown: (event) => this.#key(event), onclose: () => this.#end() },
      h("header", {}, this.#title, this.#place, keys(), button("close", t("close"), () => this.close(), { autofocus: true })),
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

  // `hasEntry` where the history has an entry for it behind that of the task.
  open(images, id, hasEntry) {
    if (this.isOpen) return;
    this.#goBack = hasEntry ? () => history.back() : () => move(pageOf(this.#task));
    document.body.append(this.#dialog);
    this.#dialog.showModal();
    this.#images = images;
    this.#show(id);
  }

  close() {
    this.#dialog.close();
    this.#return();
  }

  // Closes it because the history has gone on already.
  leave() {
    this.#goBack = null;
    this.#dialog.close();
  }

  // Shows what has changed, without another load of the picture.
  update(images) {
    const before = this.#image();
    this.#images = images;
    const image = this.#image();
    if (!image) this.close();
    else if (image.status !== before?.status) this.#draw(image);
    else this.#tell(image);
  }

  #image() {
    return this.#images.find((image) => image.id === this.#id);
  }

  #show(id) {
    this.#id = id;
    move(pageOf(this.#task, id));
    const image = this.#image();
    const address = imageAddress(this.#task, id);
    const picture = h("img", { alt: summary(image), draggable: "false", src: `${address}/content` });
    const thumbnail = h("img", { alt: "", class: "before", src: `${address}/thumbnail` });
    const frame = h("div", { class: "frame", "--own": image.width / image.height }, thumbnail, picture);
    this.#dialog.classList.toggle("crowd", image.faces.length > MANY);
    picture.onload = () => {
      // A browser that does not turn this kind of file as its metadata says would show it beside its boxes.
      if (Math.abs(picture.naturalWidth / picture.naturalHeight - image.width / image.height) < 0.02) thumbnail.remove();
      else picture.remove();
    };
    this.#stage.replaceChildren(frame);
    this.#draw(image);
    this.#zoom.show(frame, image);
    for (const by of [1, -1]) {
      const neighbour = this.#images[this.#images.indexOf(image) + by];
      if (neighbour) new Image().src = `${imageAddress(this.#task, neighbour.id)}/thumbnail`;
    }
  }

  #draw(image) {
    const frame = this.#stage.firstElementChild;
    frame.querySelector(".overlay")?.remove();
    frame.append(overlay(image, true));
    this.#placeLabels();
    this.#tell(image);
  }

  #placeLabels() {
    const frame = this.#stage.firstElementChild;
    const image = this.#image();
    if (frame && image) placeLabels(frame, image);
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
      people(image, imageAddress(this.#task, image.id), (face) => this.#light(face)),
      h(
        "p",
        { class: "about" },
        size,
        h("a", { href: original, download: image.name }, icon("down"), t("original")),
        image.status === "done" && h("a", { href: `${pageOf(this.#task, image.id)}/correct` }, icon("done"), t("correct-faces")),
        this.canRemove && h("button", { type: "button", class: "plain", onclick: () => this.#takeOut(image) }, icon("trash"), t("remove-photo")),
      ),
    ];
  }

  // A box that is pointed at lights its face in the list, and one that is clicked leads there.
  #point({ target }) {
    this.#light(target.dataset?.face ?? null);
  }

  #pick({ target }) {
    if (target.dataset?.face) this.#panel.querySelector(`[data-of="${target.dataset.face}"]`)?.focus();
  }

  #light(face) {
    for (const item of this.#panel.querySelectorAll("[data-of]")) item.classList.toggle("lit", item.dataset.of === String(face));
    for (const mark of this.#stage.querySelectorAll("[data-face]")) {
      mark.classList.toggle("dimmed", face !== null && mark.dataset.face !== String(face));
    }
  }

  async #takeOut(image) {
    await this.#remove(image);
    this.#dialog.querySelector("header button:last-child").focus();
  }

  #step(by) {
    const image = this.#images[this.#images.indexOf(this.#image()) + by];
    if (!image) return;
    const wasAtTheEnd = document.activeElement;
    this.#show(image.id);
    // A button that has just been disabled would lose the focus to nowhere, and the keys with it.
    if (wasAtTheEnd?.disabled) this.#dialog.querySelector("header button:last-child").focus();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?") showKeys();
    if (event.key === "?" || this.#zoom.key(event)) {
      event.preventDefault();
      return;
    }
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
    this.#return();
  }

  #return() {
    this.#goBack?.();
    this.#goBack = null;
  }
}

function keys() {
  return h("button", { type: "button", class: "round", "aria-label": t("keys-title"), title: t("keys-title"), onclick: showKeys }, "?");
}

function button(name, text, act, more = {}) {
  return h("button", { type: "button", class: "round", "aria-label": text, title: text, onclick: act, ...more }, icon(name));
}
