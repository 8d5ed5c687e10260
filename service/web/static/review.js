// A review: one photo of a random sample after the other, checked and corrected by keyboard.

import { call, Refusal, taskAddress } from "./api.js";
import { announce, h, icon, svg } from "./dom.js";
import { Edits } from "./edits.js";
import { estimatesTable } from "./estimates.js";
import { described } from "./faces.js";
import { number, t } from "./messages.js";
import { bar, notice, sentence } from "./parts.js";
import { pageOf } from "./place.js";

const AHEAD = 3; // photos that are fetched before they are needed
const DIGITS_REST = 900; // milliseconds after which a digit begins another number
const MOST_YEARS = 130;
const SMALLEST = 6; // pixels on the screen; less is a click
const KEYS = ["arrows", "w", "m", "u", "digits", "x", "z", "drag", "enter", "pages"];

export class ReviewView {
  title = t("review-title");
  #task;
  #address;
  #review = null;
  #reviewed = new Set();
  #edits = new Map();
  #place = 0;
  #face = 0; // the position of the chosen face
  #typed = { text: "", at: 0, timer: 0, send: null };
  #stage = h("div", { class: "stage", tabindex: 0, role: "application" });
  #side = h("div", { class: "side" });
  #heading = h("h1", { tabindex: -1 }, t("review-title"));
  #progress = h("p", { class: "facts" });
  #bar = bar(t("review-progress"), 0);
  #notices = h("div", { class: "notices" });
  #results = h("div", {});

  // Either the photos of a review are checked, or one photo is corrected.
  constructor(task, { review, photo }) {
    this.#task = task;
    if (photo) this.#review = { images: [photo], reviewed_images: [] };
    else this.#address = `${taskAddress(task)}/reviews/${encodeURIComponent(review)}`;
    this.element = h(
      "div",
      { class: "view reviewing" },
      h("a", { class: "back", href: pageOf(task, photo) }, icon("back"), t(photo ? "back-to-photo" : "back-to-task")),
      h("div", { class: "naming" }, this.#heading, review && [this.#progress, this.#bar]),
      this.#notices,
      h("div", { class: "desk" }, this.#stage, this.#side),
      this.#results,
    );
    this.#stage.addEventListener("pointerdown", this.#press);
    document.addEventListener("keydown", this.#key);
    this.drawn = this.#begin();
  }

  stop() {
    this.#settle();
    document.removeEventListener("keydown", this.#key);
  }

  async #begin() {
    try {
      this.#review ??= (await call("GET", this.#address)).value;
      this.#reviewed = new Set(this.#review.reviewed_images);
      const first = this.#review.images.findIndex((id) => !this.#reviewed.has(id));
      await this.#show(Math.max(0, first));
      if (first < 0) await this.#tellResults();
    } catch (error) {
      this.#complain(error);
    }
  }

  // --- photos

  get #id() {
    return this.#review.images[this.#place];
  }

  get #current() {
    return this.#edits.get(this.#id);
  }

  #fetch(place) {
    const id = this.#review.images[place];
    if (!id || this.#edits.has(id)) return;
    const edits = new Edits(this.#task, id, (error) => this.#refused(id, error));
    this.#edits.set(id, edits);
    edits.picture = new Image();
    edits.picture.src = `${edits.address}/content`;
  }

  async #show(place) {
    this.#settle();
    this.#place = place;
    this.#face = 0;
    for (let ahead = 0; ahead <= AHEAD; ahead += 1) this.#fetch(place + ahead);
    this.#count();
    const edits = this.#current;
    if (!edits.image) {
      this.#stage.replaceChildren();
      this.#side.replaceChildren();
      await edits.loaded;
    }
    if (edits === this.#current) this.#draw();
  }

  #draw() {
    const { image, picture, address } = this.#current;
    this.#heading.textContent = image.name;
    this.title = `${t("review-title")} · ${image.name}`;
    document.dispatchEvent(new Event("titled"));
    const thumbnail = h("img", { alt: "", class: "before", src: `${address}/thumbnail` });
    const frame = h("div", { class: "frame", "--own": image.width / image.height }, thumbnail, picture);
    picture.alt = image.name;
    picture.draggable = false;
    const settle = () => {
      // A browser that does not turn this kind of file as its metadata says would show it beside its boxes.
      if (Math.abs(picture.naturalWidth / picture.naturalHeight - image.width / image.height) < 0.02) thumbnail.remove();
      else picture.remove();
    };
    if (picture.complete && picture.naturalWidth) settle();
    else picture.onload = settle;
    this.#stage.replaceChildren(frame);
    this.#drawFaces();
    this.#stage.focus({ preventScroll: true });
  }

  #drawFaces() {
    const { image } = this.#current;
    this.#face = Math.min(this.#face, Math.max(0, image.faces.length - 1));
    const frame = this.#stage.firstElementChild;
    frame.querySelector(".overlay")?.remove();
    frame.append(boxes(image, this.#face));
    this.#side.replaceChildren(...this.#words(image).filter(Boolean));
    const face = image.faces[this.#face];
    this.#stage.ariaLabel = face ? t("face-of", { face: face.number, described: described(face) }) : t("no-face-here");
    announce(this.#stage.ariaLabel);
  }

  #words(image) {
    const isChosen = (position) => position === this.#face;
    const faces = image.faces.map((face, position) =>
      h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: `face ${face.gender}`, "aria-current": isChosen(position) ? "true" : null, onclick: () => this.#choose(position) },
          h("b", {}, face.number),
          described(face),
          face.corrected && h("small", {}, t("corrected")),
        ),
      ),
    );
    const rejected = image.rejected_faces.map((face) =>
      h("li", {}, h("button", { type: "button", class: "face rejected", onclick: () => this.#act((edits) => edits.restore(face.number)) }, h("b", {}, face.number), t("bring-back"))),
    );
    const act = (key, text) => h("button", { type: "button", class: "button", disabled: !image.faces.length, onclick: () => this.#pressKey(key) }, text, h("kbd", {}, key));
    return [
      h("ol", { class: "checked", role: "list", "aria-label": t("people-here") }, faces, rejected),
      !image.faces.length && h("p", { class: "quiet" }, t("no-face-here")),
      h("div", { class: "row" }, act("w", t("key-woman")), act("m", t("key-man")), act("u", t("key-unknown")), act("x", t("key-no-face")), act("z", t("key-undo"))),
      this.#address && h("button", { type: "button", class: "button primary", onclick: () => this.#confirm() }, icon("done"), t("confirm-photo"), h("kbd", {}, "Enter")),
      this.#address && h(
        "div",
        { class: "row" },
        h("button", { type: "button", class: "button quiet", disabled: this.#place === 0, onclick: () => this.#show(this.#place - 1) }, t("previous-photo")),
        h("button", { type: "button", class: "button quiet", disabled: this.#place === this.#review.images.length - 1, onclick: () => this.#show(this.#place + 1) }, t("next-photo")),
      ),
      h("details", { open: matchMedia("(min-width: 900px)").matches }, h("summary", {}, t("keys")), h("dl", { class: "legend-of-keys" }, KEYS.slice(0, this.#address ? KEYS.length : -2).map((name) => h("div", {}, h("dt", {}, t(`keys-${name}`)), h("dd", {}, t(`keys-${name}-text`)))))),
    ];
  }

  #count() {
    const { images } = this.#review;
    const isReviewed = this.#reviewed.has(this.#id) ? ` · ${t("photo-confirmed")}` : "";
    this.#progress.textContent = t("review-place", { position: this.#place + 1, total: images.length, confirmed: this.#reviewed.size }) + isReviewed;
    this.#bar.value = this.#reviewed.size / images.length;
  }

  async #tellResults() {
    const { value } = await call("GET", `${this.#address}/estimates`);
    this.#results.replaceChildren(h("section", { class: "sheet", "aria-labelledby": "results" }, h("h2", { id: "results" }, t("estimates-title")), estimatesTable(value)));
    announce(t("review-done"));
  }

  // --- what a person does

  #choose(position) {
    this.#settle();
    this.#face = position;
    this.#drawFaces();
  }

  // Shows a change at once, and again when the service has said how it stands.
  async #act(change) {
    this.#settle();
    const edits = this.#current;
    const sent = change(edits);
    this.#drawFaces();
    this.#stage.focus({ preventScroll: true });
    await sent;
    if (edits === this.#current) this.#drawFaces();
  }

  #pressKey(key) {
    const face = this.#current?.image?.faces[this.#face];
    const gender = { w: "female", m: "male", u: "unknown" }[key];
    if (!face) return;
    if (gender) this.#act((edits) => edits.correct(face.number, { gender }));
    if (key === "x") this.#act((edits) => edits.reject(face.number));
    if (key === "z") this.#act((edits) => edits.undo(face.number));
  }

  #key = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#current?.image) return;
    if (event.target.closest?.("input, select, textarea, dialog")) return;
    const isOnAButton = event.target.closest?.("button, a, summary");
    const key = event.key.toLowerCase();
    const count = this.#current.image.faces.length;
    const by = { arrowright: 1, arrowdown: 1, arrowleft: -1, arrowup: -1 }[key];
    if (by && count) this.#choose((this.#face + by + count) % count);
    else if (/^[wmuxz]$/.test(key)) this.#pressKey(key);
    else if (/^[0-9]$/.test(key)) this.#type(key);
    else if (key === "backspace") this.#type("");
    else if (key === "enter" && this.#address && !isOnAButton) this.#confirm();
    else if (key === "pagedown") this.#turn(1);
    else if (key === "pageup") this.#turn(-1);
    else return;
    event.preventDefault();
  };

  #turn(by) {
    if (this.#review.images[this.#place + by]) this.#show(this.#place + by);
  }

  // Digits that come soon after each other are one age; without a digit the age becomes unknown.
  #type(digit) {
    const face = this.#current.image.faces[this.#face];
    if (!face) return;
    const isNew = performance.now() - this.#typed.at > DIGITS_REST || !digit;
    const text = (isNew ? "" : this.#typed.text) + digit;
    const age = text ? Number(text) : null;
    if (age > MOST_YEARS) return;
    clearTimeout(this.#typed.timer);
    const edits = this.#current;
    Object.assign(face, { age, age_low: null, age_high: null });
    this.#typed = { text, at: performance.now(), send: () => edits.correct(face.number, { age }), timer: setTimeout(() => this.#settle(), DIGITS_REST) };
    this.#drawFaces();
  }

  // Sends an age that was typed.
  #settle() {
    clearTimeout(this.#typed.timer);
    this.#typed.send?.();
    this.#typed = { text: "", at: 0, timer: 0, send: null };
  }

  async #confirm() {
    this.#settle();
    const id = this.#id;
    const confirmed = this.#current.confirm(`${this.#address}/images/${id}`);
    this.#reviewed.add(id);
    const { images } = this.#review;
    const left = (place) => images[place] && !this.#reviewed.has(images[place]);
    const next = images.findIndex((_, place) => place > this.#place && left(place));
    const earlier = images.findIndex((_, place) => left(place));
    if (next >= 0 || earlier >= 0) this.#show(next >= 0 ? next : earlier);
    else this.#count();
    if ((await confirmed) !== false && this.#reviewed.size === images.length) {
      await this.#tellResults().catch((error) => this.#complain(error));
    }
  }

  // --- a face that is drawn

  #press = (event) => {
    const frame = this.#stage.firstElementChild;
    if (!frame || event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    this.#stage.focus({ preventScroll: true });
    const rect = frame.getBoundingClientRect();
    const from = { x: event.clientX, y: event.clientY };
    const drawn = h("span", { class: "drawn" });
    frame.append(drawn);
    const move = (moved) => {
      const box = between(from, { x: moved.clientX, y: moved.clientY }, rect);
      for (const [name, value] of Object.entries(box)) drawn.style.setProperty(`--${name}`, `${value}px`);
      return box;
    };
    const end = (ended) => {
      removeEventListener("pointermove", move);
      removeEventListener("pointercancel", end);
      drawn.remove();
      if (ended.type === "pointerup") this.#drawnBox(move(ended), rect);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end, { once: true });
    addEventListener("pointercancel", end, { once: true });
  };

  async #drawnBox({ left, top, wide, high }, rect) {
    const edits = this.#current;
    const scale = edits.image.width / rect.width;
    const [x, y, width, height] = [left, top, wide, high].map((value) => Math.round(value * scale));
    if (Math.max(wide, high) < SMALLEST) {
      const position = edits.image.faces.findIndex(({ bbox }) => x >= bbox.x && x < bbox.x + bbox.width && y >= bbox.y && y < bbox.y + bbox.height);
      if (position >= 0) this.#choose(position);
      return;
    }
    this.#settle();
    const face = await edits.add({ x, y, width: Math.max(1, width), height: Math.max(1, height) });
    if (!face || edits !== this.#current) return;
    this.#choose(edits.image.faces.findIndex((one) => one.number === face.number));
  }

  // --- what went wrong

  #refused(id, error) {
    this.#reviewed.delete(id);
    this.#complain(error);
    this.#count();
    if (id === this.#id) this.#drawFaces();
  }

  #complain(error) {
    if (!(error instanceof Refusal)) throw error;
    this.#notices.replaceChildren(notice("danger", h("p", {}, sentence(error))));
  }
}

function boxes(image, chosen) {
  const frame = svg("svg", { viewBox: `0 0 ${image.width} ${image.height}`, preserveAspectRatio: "none" });
  const tags = image.faces.map((face, position) => {
    const { x, y, width, height } = face.bbox;
    const place = { x, y, width, height };
    const state = position === chosen ? " chosen" : "";
    frame.append(svg("rect", { ...place, class: `halo${state}` }), svg("rect", { ...place, class: `box ${face.gender}${state}` }));
    const at = { "--x": `${(100 * Math.max(0, x)) / image.width}%`, "--y": `${(100 * Math.max(0, y)) / image.height}%` };
    const age = face.age === null ? "" : ` ${number(face.age)}`;
    return h("span", { class: `tag numbered ${face.gender}${state}`, ...at }, position === chosen ? `${face.number} ${SIGNS[face.gender]}${age}` : face.number);
  });
  return h("span", { class: "overlay", "aria-hidden": "true" }, frame, tags);
}

const SIGNS = { female: "♀", male: "♂", unknown: "?" };

// Returns the box between two places of the window, inside the photo, in pixels of the screen from its corner.
function between(one, other, rect) {
  const inside = (value, most) => Math.min(most, Math.max(0, value));
  const xs = [one.x, other.x].map((x) => inside(x - rect.left, rect.width)).sort((a, b) => a - b);
  const ys = [one.y, other.y].map((y) => inside(y - rect.top, rect.height)).sort((a, b) => a - b);
  return { left: xs[0], top: ys[0], wide: xs[1] - xs[0], high: ys[1] - ys[0] };
}
