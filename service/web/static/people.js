// The faces of the photo in the large view, in words: below it, or beside it with crops where there are many.

import { h, icon } from "./dom.js";
import { ageRange, described, MANY } from "./faces.js";
import { t } from "./messages.js";
import { reasonOf } from "./parts.js";

const MARGIN = 0.4; // of the longer side of a face, around it in its crop

// Returns the list; `light` is told which face a person points at or comes to by the keyboard, or null.
export function people(image, address, light) {
  if (image.status === "failed") return h("p", { class: "reason" }, icon("warning"), reasonOf(image.error));
  if (image.status === "pending") return h("p", {}, image.error ? reasonOf(image.error) : t("not-looked-at"));
  if (!image.faces.length) return h("p", {}, t("no-face-here"));
  const isMany = image.faces.length > MANY;
  const items = image.faces.map((face, position) =>
    h(
      "li",
      {
        tabindex: 0,
        "data-of": position,
        onpointerenter: () => light(position),
        onpointerleave: () => light(null),
        onfocus: () => light(position),
        onblur: () => light(null),
      },
      isMany ? [h("b", {}, position + 1), crop(image, face, address)] : h("i", { class: `swatch ${face.gender}` }),
      h("span", {}, described(face), h("small", {}, ageRange(face))),
    ),
  );
  return h("ol", { class: isMany ? "people many" : "people", "aria-label": t("people-here") }, items);
}

// The photo itself is the background, so that a hundred crops are no hundred requests.
function crop(image, { bbox }, address) {
  const side = Math.min(image.width, image.height, Math.max(bbox.width, bbox.height) * (1 + 2 * MARGIN));
  const place = (start, length, whole) => {
    const room = whole - side;
    return room ? (100 * Math.min(room, Math.max(0, start + length / 2 - side / 2))) / room : 0;
  };
  return h("i", {
    class: "crop",
    "--picture": `url("${address}/content"), url("${address}/thumbnail")`,
    "--size": `${(100 * image.width) / side}% ${(100 * image.height) / side}%`,
    "--place": `${place(bbox.x, bbox.width, image.width)}% ${place(bbox.y, bbox.height, image.height)}%`,
  });
}
