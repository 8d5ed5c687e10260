// The photos of a task. Thousands of them: a card is made once, and changed only when its photo has.

import { imageAddress } from "./api.js";
import { h, icon } from "./dom.js";
import { overlay, summary } from "./faces.js";
import { placeLabels } from "./labels.js";
import { t } from "./messages.js";

export class Grid {
  element = h("ul", { class: "grid", role: "list" });
  #task;
  #cards = new Map();
  #current = null;
  // Thousands of photos have tens of thousands of boxes: they are drawn when a photo comes near the window.
  #watch = new IntersectionObserver((seen) => this.#seen(seen), { rootMargin: "600px" });

  constructor(task, open) {
    this.#task = task;
    this.element.addEventListener("click", (event) => {
      const card = event.target.closest("button")?.parentElement;
      if (card) open(card.id);
    });
    this.element.addEventListener("keydown", (event) => this.#move(event));
  }

  // Shows these images, in their order; a card that is not among them goes.
  update(images, isWorking) {
    this.element.classList.toggle("working", isWorking);
    const shown = new Set(images.map((image) => image.id));
    for (const [id, card] of this.#cards) {
      if (!shown.has(id)) {
        card.element.remove();
        this.#watch.unobserve(card.element);
        this.#cards.delete(id);
      }
    }
    let place = this.element.firstElementChild;
    for (const image of images) {
      const card = this.#cards.get(image.id) ?? this.#newCard(image);
      if (card.element === place) place = place.nextElementSibling;
      else this.element.insertBefore(card.element, place);
      const seen = image.faces.map(({ gender, age, bbox }) => [gender, age, bbox]);
      const state = JSON.stringify([image.status, image.error?.detail, seen]);
      if (card.state !== state) {
        card.state = state;
        card.image = image;
        this.#fill(card.element, image);
        if (card.isSeen) drawFaces(card);
      }
    }
    if (!this.#current?.isConnected) this.#reach(this.element.querySelector(".photo"));
  }

  focus(id) {
    const photo = this.#cards.get(id)?.element.querySelector(".photo");
    if (!photo) return;
    this.#reach(photo);
    photo.focus();
  }

  #newCard(image) {
    const card = { element: this.#card(image), image, state: "", isSeen: false };
    this.#cards.set(image.id, card);
    this.#watch.observe(card.element);
    return card;
  }

  #card(image) {
    const picture = h("img", {
      loading: "lazy",
      decoding: "async",
      width: image.width,
      height: image.height,
      alt: "",
      src: `${imageAddress(this.#task, image.id)}/thumbnail`,
    });
    const ratio = Math.min(2.4, Math.max(0.5, image.width / image.height));
    const frame = h("span", { class: "fit", "--own": image.width / image.height }, picture);
    return h(
      "li",
      { class: "card", id: image.id, "--ratio": ratio },
      h("button", { type: "button", class: "photo", tabindex: -1 }, frame),
      h("p", { class: "caption", "aria-hidden": "true" }, h("span", { class: "name", title: image.name }, image.name), h("span", { class: "found" })),
    );
  }

  #fill(element, image) {
    element.querySelector("img").alt = summary(image);
    element.classList.toggle("pending", image.status === "pending");
    element.classList.toggle("failed", image.status === "failed");
    element.querySelector(".found").replaceChildren(...found(image));
  }

  #seen(changes) {
    for (const { target, isIntersecting } of changes) {
      const card = this.#cards.get(target.id);
      if (!isIntersecting || !card) continue;
      this.#watch.unobserve(target);
      card.isSeen = true;
      drawFaces(card);
    }
  }

  // One photo is in the order of the Tab key; the arrows lead to the others.
  #reach(photo) {
    if (!photo) return;
    this.#current?.setAttribute("tabindex", "-1");
    this.#current = photo;
    photo.tabIndex = 0;
  }

  #move(event) {
    const from = event.target.closest(".card");
    if (!from) return;
    const to = {
      ArrowLeft: () => from.previousElementSibling,
      ArrowRight: () => from.nextElementSibling,
      ArrowUp: () => inAnotherRow(from, "previousElementSibling"),
      ArrowDown: () => inAnotherRow(from, "nextElementSibling"),
      Home: () => this.element.firstElementChild,
      End: () => this.element.lastElementChild,
    }[event.key]?.();
    if (!to) return;
    event.preventDefault();
    this.#reach(to.querySelector(".photo"));
    this.#current.focus();
  }
}

function drawFaces({ element, image }) {
  const frame = element.querySelector(".fit");
  frame.querySelector(".overlay")?.remove();
  if (!image.faces.length) return;
  frame.append(overlay(image, false));
  placeLabels(frame, image);
}

function found(image) {
  if (image.status === "failed") return [icon("warning"), t("status-failed")];
  if (image.status === "pending") return [icon("dots"), t("status-pending")];
  return [icon("faces"), String(image.faces.length)];
}

// Returns the card of the next row that lies nearest below or above.
function inAnotherRow(from, direction) {
  const middle = from.offsetLeft + from.offsetWidth / 2;
  let nearest = null;
  for (let card = from[direction]; card; card = card[direction]) {
    if (card.offsetTop === from.offsetTop) continue;
    if (nearest && card.offsetTop !== nearest.offsetTop) break;
    if (!nearest || distance(card, middle) < distance(nearest, middle)) nearest = card;
  }
  return nearest;
}

function distance(card, middle) {
  return Math.abs(card.offsetLeft + card.offsetWidth / 2 - middle);
}
