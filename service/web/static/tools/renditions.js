// Renditions: a picture as WebP in four sizes, with what that saves and the markup that uses them.

import { Card, failed, field, fileZone } from "./card.js";
import { h } from "../dom.js";
import { bytes, number, percent, t } from "../messages.js";

export function renditionsCard(signal) {
  const owner = field(t("owner"), { type: "text", value: "1", maxlength: 64, required: true });
  const zone = fileZone({
    label: t("choose-picture"),
    accept: "image/jpeg,image/png,image/webp",
    take: ([file]) => card.run(() => make(card, file, owner.querySelector("input").value)),
  });
  const card = new Card(signal, { id: "renditions", title: t("renditions-title"), about: t("renditions-about"), parts: [h("div", { class: "row" }, owner), zone] });
  return card;
}

async function make(card, file, owner) {
  const { id } = await card.call("POST", "/images", { form: [["image", file], ["user_id", owner]] });
  const image = await card.until(({ status }) => status !== "pending", `/images/${id}`);
  if (image.status === "failed") throw failed(image.error);
  const rows = image.renditions.map(({ kind, url, width, height, size }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("a", { href: url }, kind)),
      h("td", {}, `${number(width)} × ${number(height)}`),
      h("td", {}, bytes(size)),
      h("td", {}, percent(1 - size / image.original.size)),
    ),
  );
  const heads = [t("rendition"), t("pixels"), t("size"), t("saved")].map((text) => h("th", { scope: "col" }, text));
  return [
    h("table", {}, h("caption", {}, t("original-has", { size: bytes(image.original.size) })), h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)),
    h("h3", {}, t("markup")),
    h("p", {}, t("links-expire")),
    h("pre", { class: "markup" }, h("code", { tabindex: 0 }, markup(image))),
  ];
}

function markup({ name, original, renditions }) {
  const sources = renditions.map(({ url, width }) => `${url} ${width}w`).join(",\n    ");
  const fallback = `<img src="${original.url}" width="${original.width}" height="${original.height}" alt="${name.replace(/[&"<]/g, "")}">`;
  return `<picture>\n  <source type="image/webp" sizes="100vw" srcset="\n    ${sources}">\n  ${fallback}\n</picture>`;
}
