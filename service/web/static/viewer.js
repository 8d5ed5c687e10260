// One photo in large, with its faces; the arrow keys lead to the others.

import { imageAddress } from "./api.js";
import { h, icon } from "./dom.js";
import { ageRange, described, overlay, summary } from "./faces.js";
import { bytes, number, t } from "./messages.js";
import { reasonOf } from "./parts.js";
import { remember } from "./place.js";

const SWIPE = 40; // pixels

// Where a person has zoomed in, a finger moves the picture about, as everywhere.
window.visualViewport?.addEventListener("resize", () => document.documentElement.classList.toggle("zoomed", isZoomed()));

export class Viewer {
  canRemove = false;
  #hasEntry = false; // in the history, to be taken back when a person closes it
  #task;
  #images = [];
  #id = null;
  #closed;
  #remove;
  #dialog;
  #title = h("h2", { id: "viewer-title" });
  #place = h("p", { class: "place" });
  #stage = h("div", {
    class: "stage",
    onpointerdown: (event) => this.#touch(event),
    onpointermove: (event) => this.#drag(event),
    onpointerup: (event) => this.#letGo(event),
    onpointercancel: () => this.#settle(),
  });
  #finger = null; // where it came down
  #panel = h("div", { class: "panel" });

  // `closed` is told the id of the photo that was shown last; `remove` takes a photo out of the task, where that can be.
  constructor(task, closed, remove) {
    this.#task = task;
    this.#closed = closed;
    this.#remove = remove;
    this.#dialog = h(
      "dialog",
      { class: "viewer", "aria-labelledby": "viewer-title", onkeydown: (event) => this.#key(event), onclose: () => this.#end() },
      h("header", {}, this.#title, this.#place, button("close", t("close"), () => this.close())),
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

  // An entry of the history has been made for it.
  open(images, id) {
    if (this.isOpen) return;
    this.#hasEntry = true;
    document.body.append(this.#dialog);
    this.#dialog.showModal();
    this.#images = images;
    this.#show(id);
  }

  close() {
    this.#dialog.close();
    this.#goBack();
  }

  // Closes it because the history has gone on already.
  leave() {
    this.#hasEntry = false;
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
    remember({ photo: id });
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

  // A finger that goes sideways leads on.
  #touch({ pointerType, isPrimary, pointerId, clientX, clientY }) {
    this.#settle();
    if (pointerType === "touch" && isPrimary && !isZoomed()) this.#finger = { pointerId, clientX, clientY };
  }

  #drag(event) {
    if (event.pointerId === this.#finger?.pointerId) this.#stage.style.setProperty("--drag", `${this.#wayOf(event)}px`);
  }

  #letGo(event) {
    const way = event.pointerId === this.#finger?.pointerId ? this.#wayOf(event) : 0;
    this.#settle();
    if (Math.abs(way) > SWIPE) this.#step(way < 0 ? 1 : -1);
  }

  // Returns how far the finger went sideways; 0 if it went rather up or down.
  #wayOf({ clientX, clientY }) {
    const way = clientX - this.#finger.clientX;
    return Math.abs(way) > Math.abs(clientY - this.#finger.clientY) ? way : 0;
  }

  #settle() {
    this.#finger = null;
    this.#stage.style.removeProperty("--drag");
  }

  #end() {
    this.#dialog.remove();
    this.#stage.replaceChildren();
    this.#closed(this.#id);
    this.#goBack();
  }

  #goBack() {
    if (this.#hasEntry) history.back();
    this.#hasEntry = false;
  }
}

function isZoomed() {
  return window.visualViewport?.scale > 1.05;
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
      h("small", {}, ageRange(face)),
    ),
  );
  return h("ol", { class: "people", "aria-label": t("people-here") }, items);
}
