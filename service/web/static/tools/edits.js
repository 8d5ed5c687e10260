// Processing: a picture flipped, resized or turned, before and after.

import { Card, failed, field, fileZone, shot } from "./card.js";
import { h } from "../dom.js";
import { t } from "../messages.js";

export function editsCard(signal) {
  const edit = h(
    "select",
    { onchange: () => (sides.hidden = edit.value !== "resize") },
    h("option", { value: "horizontal" }, t("flip-horizontal")),
    h("option", { value: "vertical" }, t("flip-vertical")),
    h("option", { value: "clockwise" }, t("turn-clockwise")),
    h("option", { value: "counterclockwise" }, t("turn-counterclockwise")),
    h("option", { value: "resize" }, t("resize")),
  );
  const size = { type: "number", min: 1, max: 10000, value: 320, required: true };
  const sides = h("span", { class: "row", hidden: true }, field(t("width"), size), field(t("height"), { ...size, value: 240 }));
  const zone = fileZone({
    label: t("choose-picture"),
    accept: "image/jpeg,image/png,image/webp",
    take: ([file]) => card.run(() => change(card, file, orderOf(edit.value, sides))),
  });
  const choice = h("label", { class: "field" }, h("span", {}, t("edit")), edit);
  const card = new Card(signal, { id: "edits", title: t("edits-title"), about: t("edits-about"), parts: [h("div", { class: "row" }, choice, sides), zone] });
  return card;
}

function orderOf(edit, sides) {
  if (edit === "resize") {
    const [width, height] = [...sides.querySelectorAll("input")].map((input) => input.valueAsNumber);
    return { algorithm: "resize", params: { width, height } };
  }
  if (edit.endsWith("clockwise")) return { algorithm: "rotate", params: { direction: edit } };
  return { algorithm: "flip", params: { orientation: edit } };
}

async function change(card, file, order) {
  const { file_ids: [source] } = await card.call("POST", "/api/files/", { form: [["file", file]] });
  const { task_ids: [task] } = await card.call("POST", "/api/image-processing/", { json: { file_ids: [source], ...order } });
  const done = await card.until(({ status }) => ["finished", "error"].includes(status), `/api/image-processing/${task}`);
  if (done.status === "error") throw failed(done.error);
  return [h("div", { class: "shots" }, shot(`/api/files/${source}`, t("before")), shot(`/api/files/${done.result_id}`, t("after")))];
}
