// All faces of a task on one wall: sorted, filtered, searched. Only what is near the window is in the page.

import { imageAddress, Refusal, taskAddress, TaskCopy } from "./api.js";
import { announce, h, icon, onceAFrame } from "./dom.js";
import { described } from "./faces.js";
import { number, t } from "./messages.js";
import { nameOf, notice, sentence } from "./parts.js";
import { pageOf } from "./place.js";

const TILE = 116; // pixels, with its gap
const HIGH = 150;
const OVERSCAN = 3; // rows above and below the window
const REST = 90; // milliseconds that a face stays in view before its picture is asked for
const DECADES = 9;
const GENDERS = ["female", "male", "unknown"];

const SORTS = {
  photo: (one, other) => one.position - other.position || one.face.number - other.face.number,
  age: (one, other) => (one.face.age ?? 999) - (other.face.age ?? 999),
  certainty: (one, other) => certaintyOf(one.face) - certaintyOf(other.face),
  size: (one, other) => other.face.bbox.height - one.face.bbox.height,
};
const CROWDS = { any: () => true, one: (count) => count === 1, few: (count) => count > 1 && count < 6, many: (count) => count > 5 };

export function certaintyOf({ gender, male_probability: male, corrected }) {
  if (male === null || male === undefined) return corrected && gender !== "unknown" ? 1 : 0.5;
  return Math.max(male, 1 - male);
}

export class FacesView {
  title = t("faces-title");
  #task;
  #copy;
  #faces = [];
  #shown = [];
  #tiles = new Map();
  #wanted = { sort: "photo", gender: "all", decade: null, certain: 50, crowd: "any", corrected: "all", name: "" };
  #heading = h("h1", { tabindex: -1 }, t("faces-title"));
  #found = h("p", { class: "facts" });
  #bars = h("div", { class: "histogram pressed", role: "group", "aria-label": t("ages-filter") });
  #wall = h("ul", { class: "wall", role: "list" });
  #filters = h("form", { class: "row filters", onsubmit: (event) => event.preventDefault() });
  #notices = h("div", { class: "notices" });

  constructor(task) {
    this.#task = task;
    this.#copy = new TaskCopy(task);
    this.element = h(
      "div",
      { class: "view" },
      h("a", { class: "back", href: `/tasks/${task}` }, icon("back"), t("back-to-task")),
      h("div", { class: "head" }, h("div", { class: "naming" }, this.#heading, this.#found), h("a", { class: "button", href: `${taskAddress(task)}/crops.zip`, download: true }, icon("down"), t("download-crops"))),
      this.#notices,
      this.#filters,
      this.#bars,
      this.#wall,
    );
    addEventListener("scroll", this.#moved, { passive: true });
    addEventListener("resize", this.#moved, { passive: true });
    this.drawn = this.#load();
  }

  stop() {
    this.#copy.stop();
    removeEventListener("scroll", this.#moved);
    removeEventListener("resize", this.#moved);
  }

  async #load() {
    try {
      await this.#copy.refresh(0);
      const { value } = this.#copy;
      this.title = `${t("faces-title")} · ${nameOf(value)}`;
      document.dispatchEvent(new Event("titled"));
      this.#faces = value.images.flatMap((image, position) => image.faces.map((face) => ({ image, face, position })));
      this.#drawFilters();
      this.#choose({});
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#notices.replaceChildren(notice("danger", h("p", {}, sentence(error))));
    }
  }

  #drawFilters() {
    const choice = (name, options) =>
      h(
        "label",
        { class: "field" },
        t(`faces-${name}`),
        h("select", { name, onchange: ({ target }) => this.#choose({ [name]: target.value }) }, options.map((value) => h("option", { value }, t(`faces-${name}-${value}`)))),
      );
    const certain = h("output", {}, "50 %");
    this.#filters.append(
      h("label", { class: "field" }, t("faces-name"), h("input", { type: "search", name: "name", oninput: ({ target }) => this.#choose({ name: target.value.toLowerCase() }) })),
      choice("sort", Object.keys(SORTS)),
      choice("gender", ["all", ...GENDERS]),
      choice("crowd", Object.keys(CROWDS)),
      choice("corrected", ["all", "yes", "no"]),
      this.#faces.some(({ face }) => face.male_probability !== null) &&
        h(
          "label",
          { class: "field" },
          t("faces-certain"),
          h("input", {
            type: "range",
            name: "certain",
            min: 50,
            max: 99,
            value: 50,
            oninput: ({ target }) => {
              certain.textContent = t("in-percent", { value: target.value });
              this.#choose({ certain: Number(target.value) });
            },
          }),
          certain,
        ),
    );
  }

  #choose(what) {
    Object.assign(this.#wanted, what);
    const { sort, decade } = this.#wanted;
    const fitting = this.#faces.filter((one) => this.#fits(one));
    this.#drawBars(fitting);
    this.#shown = (decade === null ? fitting : fitting.filter(({ face }) => decadeOf(face) === decade)).sort(SORTS[sort]);
    this.#found.textContent = t("faces-found", { count: this.#shown.length, total: this.#faces.length });
    announce(this.#found.textContent);
    for (const tile of this.#tiles.values()) tile.remove();
    this.#tiles.clear();
    this.#arrange();
  }

  #fits({ image, face }) {
    const { gender, certain, crowd, corrected, name } = this.#wanted;
    return (
      (gender === "all" || face.gender === gender) &&
      (certain <= 50 || 100 * certaintyOf(face) >= certain) &&
      CROWDS[crowd](image.faces.length) &&
      (corrected === "all" || face.corrected === (corrected === "yes")) &&
      (!name || image.name.toLowerCase().includes(name))
    );
  }

  #drawBars(faces) {
    const counts = Array(DECADES).fill(0);
    for (const { face } of faces) if (face.age !== null) counts[decadeOf(face)] += 1;
    const most = Math.max(1, ...counts);
    const { decade } = this.#wanted;
    const focused = this.#bars.contains(document.activeElement) ? document.activeElement.dataset.decade : null;
    this.#bars.replaceChildren(
      ...counts.map((count, place) =>
        h(
          "button",
          {
            type: "button",
            class: "column",
            "data-decade": place,
            "aria-pressed": String(decade === place),
            "aria-label": t("ages-bar", { ages: span(place), count }),
            onclick: () => this.#choose({ decade: decade === place ? null : place }),
          },
          h("span", { class: "bar all", "--share": count / most }, count ? h("b", {}, number(count)) : null),
          h("small", {}, span(place)),
        ),
      ),
    );
    if (focused !== null) this.#bars.children[focused]?.focus();
  }

  #moved = onceAFrame(() => this.#arrange());

  // Puts in the tiles of the rows near the window, and takes out the others.
  #arrange() {
    const { top, width } = this.#wall.getBoundingClientRect();
    const columns = Math.max(1, Math.floor(width / TILE));
    const rows = Math.ceil(this.#shown.length / columns);
    this.#wall.style.setProperty("--rows", rows);
    const first = Math.max(0, Math.floor(-top / HIGH) - OVERSCAN) * columns;
    const last = Math.min(this.#shown.length, (Math.ceil((innerHeight - top) / HIGH) + OVERSCAN) * columns);
    for (const [place, tile] of this.#tiles) {
      if (place >= first && place < last) continue;
      tile.querySelector("img").removeAttribute("src"); // a picture that is still on its way is not wanted any more
      tile.remove();
      this.#tiles.delete(place);
    }
    for (let place = first; place < last; place += 1) {
      let tile = this.#tiles.get(place);
      if (!tile) {
        tile = this.#tile(this.#shown[place], place);
        this.#tiles.set(place, tile);
        this.#wall.append(tile);
      }
      tile.style.setProperty("--column", place % columns);
      tile.style.setProperty("--row", Math.floor(place / columns));
    }
  }

  #tile({ image, face }, place) {
    const picture = h("img", { alt: "", width: 108, height: 108, decoding: "async" });
    const text = described(face);
    const tile = h(
      "li",
      { "aria-setsize": this.#shown.length, "aria-posinset": place + 1 },
      h("a", { href: pageOf(this.#task, image.id), title: image.name, "aria-label": t("face-in", { face: text, name: image.name }) }, picture, h("span", { class: `tag ${face.gender}` }, text), face.corrected && h("small", { class: "mark" }, "✓")),
    );
    setTimeout(() => {
      if (tile.isConnected) picture.src = `${imageAddress(this.#task, image.id)}/faces/${face.number}/crop`;
    }, REST);
    return tile;
  }
}

function decadeOf({ age }) {
  return age === null ? null : Math.min(DECADES - 1, Math.max(0, Math.floor(age / 10)));
}

function span(decade) {
  return decade === DECADES - 1 ? `${decade * 10}+` : `${decade * 10}–${decade * 10 + 9}`;
}
