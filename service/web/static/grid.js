// The photos of a task, in rows of one height. Thousands of them: only those near the window are in the page, and a card
// is changed only when its photo has.

import { imageAddress } from "./api.js";
import { h, icon, onceAFrame } from "./dom.js";
import { overlay, summary } from "./faces.js";
import { placeLabels } from "./labels.js";
import { t } from "./messages.js";

const NEAR = 1.5; // windows above and below the one that is seen
const CAPTION = 1.4; // the height of a root letter
const NARROWEST = 0.5;
const WIDEST = 2.4;

export class Grid {
  element = h("ul", { class: "grid", role: "list" });
  #task;
  #images = [];
  #places = new Map(); // by the photo's id
  #rows = [];
  #cards = new Map(); // those in the page, by the photo's id
  #current = null; // the id of the photo that is in the order of the Tab key; the arrows lead to the others
  #sized = new ResizeObserver(() => this.#arrange());

  constructor(task, open) {
    this.#task = task;
    this.element.addEventListener("click", (event) => {
      const card = event.target.closest("button")?.parentElement;
      if (card) open(card.id);
    });
    this.element.addEventListener("keydown", (event) => this.#move(event));
    this.#sized.observe(this.element);
    addEventListener("scroll", this.#scrolled, { passive: true });
  }

  stop() {
    this.#sized.disconnect();
    removeEventListener("scroll", this.#scrolled);
  }

  // Shows these images, in their order.
  update(images, isWorking) {
    this.element.classList.toggle("working", isWorking);
    this.#images = images;
    this.#places = new Map(images.map(({ id }, place) => [id, place]));
    if (!this.#places.has(this.#current)) this.#current = images[0]?.id ?? null;
    this.#arrange();
  }

  focus(id) {
    if (this.#places.has(id)) this.#go(this.#places.get(id));
  }

  #scrolled = onceAFrame(() => this.#showNear());

  // Gives each photo its place. As long as the grid is not in the page it has no width, and shows nothing.
  #arrange() {
    const { clientWidth: width } = this.element;
    if (!width) return;
    this.#rows = rowsOf(this.#images.map(ratioOf), width, measuresOf(this.element));
    const last = this.#rows.at(-1);
    this.element.style.height = `${last ? last.top + last.high + last.caption : 0}px`;
    this.#showNear();
  }

  // Puts in the photos near the window, and the one that Tab reaches; takes out the others.
  #showNear() {
    const { top } = this.element.getBoundingClientRect();
    const from = -top - NEAR * innerHeight;
    const to = -top + (1 + NEAR) * innerHeight;
    const current = this.#places.get(this.#current);
    const rows = this.#rows.filter((row) => (row.top < to && row.top + row.high > from) || (row.first <= current && current < row.end));
    const wanted = new Set(rows.flatMap((row) => this.#images.slice(row.first, row.end).map(({ id }) => id)));
    for (const [id, card] of this.#cards) {
      if (wanted.has(id)) continue;
      card.element.remove();
      this.#cards.delete(id);
    }
    const changed = [];
    let next = this.element.firstElementChild;
    for (const row of rows) {
      for (let place = row.first; place < row.end; place += 1) {
        const card = this.#cardOf(this.#images[place]);
        if (card.element === next) next = next.nextElementSibling;
        else this.element.insertBefore(card.element, next);
        this.#put(card, row, place);
        if (this.#write(card, this.#images[place])) changed.push(card);
      }
    }
    // All is written before the layout is read, which would else be made for each of them.
    for (const { element, image } of changed) placeLabels(element.querySelector(".fit"), image);
  }

  #cardOf(image) {
    if (!this.#cards.has(image.id)) this.#cards.set(image.id, { element: card(this.#task, image), image: null, state: "" });
    return this.#cards.get(image.id);
  }

  #put({ element }, row, place) {
    const left = row.lefts[place - row.first];
    element.style.transform = `translate(${left}px, ${row.top}px)`;
    element.style.setProperty("--wide", `${row.widths[place - row.first]}px`);
    element.style.setProperty("--high", `${row.high}px`);
    element.setAttribute("aria-setsize", this.#images.length);
    element.setAttribute("aria-posinset", place + 1);
    element.firstElementChild.tabIndex = element.id === this.#current ? 0 : -1;
  }

  // Returns whether something has changed.
  #write(card, image) {
    if (card.image === image) return false;
    card.image = image;
    const seen = image.faces.map(({ gender, age, bbox }) => [gender, age, bbox]);
    const state = JSON.stringify([image.status, image.error?.detail, seen]);
    if (card.state === state) return false;
    card.state = state;
    const { element } = card;
    element.querySelector("img").alt = summary(image);
    element.classList.toggle("pending", image.status === "pending");
    element.classList.toggle("failed", image.status === "failed");
    element.querySelector(".found").replaceChildren(...found(image));
    element.querySelector(".overlay")?.remove();
    if (image.faces.length) element.querySelector(".fit").append(overlay(image, false));
    return true;
  }

  #go(place) {
    this.#current = this.#images[place].id;
    this.#showNear();
    this.#cards.get(this.#current).element.firstElementChild.focus();
  }

  #move(event) {
    const from = this.#places.get(event.target.closest(".card")?.id);
    if (from === undefined) return;
    const to = {
      ArrowLeft: () => from - 1,
      ArrowRight: () => from + 1,
      ArrowUp: () => inAnotherRow(this.#rows, from, -1),
      ArrowDown: () => inAnotherRow(this.#rows, from, 1),
      Home: () => 0,
      End: () => this.#images.length - 1,
    }[event.key]?.();
    if (to === undefined || !this.#images[to]) return;
    event.preventDefault();
    this.#go(to);
  }
}

function card(task, image) {
  const picture = h("img", {
    loading: "lazy",
    decoding: "async",
    width: image.width,
    height: image.height,
    alt: "",
    src: `${imageAddress(task, image.id)}/thumbnail`,
  });
  const frame = h("span", { class: "fit", "--own": image.width / image.height }, picture);
  return h(
    "li",
    { class: "card", id: image.id },
    h("button", { type: "button", class: "photo", tabindex: -1 }, frame),
    h("p", { class: "caption", "aria-hidden": "true" }, h("span", { class: "name", title: image.name }, image.name), h("span", { class: "found" })),
  );
}

function ratioOf({ width, height }) {
  return Math.min(WIDEST, Math.max(NARROWEST, width / height));
}

// What the style sheet says: the height that rows have at least, gaps, and in small windows a number of equal columns.
function measuresOf(element) {
  const style = getComputedStyle(element);
  const root = parseFloat(getComputedStyle(document.documentElement).fontSize);
  return {
    least: parseFloat(style.getPropertyValue("--least")),
    columns: parseInt(style.getPropertyValue("--columns"), 10) || 0,
    across: parseFloat(style.columnGap),
    down: parseFloat(style.rowGap),
    caption: CAPTION * root,
  };
}

// Returns the rows of pictures with these ratios of width to height: {first, end, top, high, caption, lefts, widths}. A row
// takes as many as fit at the least height, and is then made so high that it fills the width; the last one stays.
export function rowsOf(ratios, width, { least, columns, across, down, caption }) {
  const rows = [];
  let top = 0;
  for (let first = 0, end; first < ratios.length; first = end) {
    let high;
    let sum = ratios[first];
    end = first + 1;
    if (columns) {
      end = Math.min(ratios.length, first + columns);
      high = (width - across * (columns - 1)) / columns;
    } else {
      while (end < ratios.length && (sum + ratios[end]) * least + across * (end - first) <= width) sum += ratios[end++];
      const filling = (width - across * (end - first - 1)) / sum;
      high = end < ratios.length ? filling : Math.min(least, filling);
    }
    const widths = ratios.slice(first, end).map((ratio) => (columns ? high : ratio * high));
    const lefts = widths.map((_, place) => widths.slice(0, place).reduce((left, wide) => left + wide + across, 0));
    rows.push({ first, end, top, high, caption, lefts, widths });
    top += high + caption + down;
  }
  return rows;
}

// Returns the place in the row below or above that lies nearest.
function inAnotherRow(rows, place, by) {
  const at = rows.findIndex((row) => row.first <= place && place < row.end);
  const row = rows[at + by];
  if (!row) return undefined;
  const middle = middleOf(rows[at], place);
  const distances = row.widths.map((_, position) => Math.abs(middleOf(row, row.first + position) - middle));
  return row.first + distances.indexOf(Math.min(...distances));
}

function middleOf(row, place) {
  return row.lefts[place - row.first] + row.widths[place - row.first] / 2;
}

function found(image) {
  if (image.status === "failed") return [icon("warning"), t("status-failed")];
  if (image.status === "pending") return [icon("dots"), t("status-pending")];
  return [icon("faces"), String(image.faces.length)];
}
