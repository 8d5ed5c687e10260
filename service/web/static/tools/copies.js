// Augmentation: an account, an upload, and three copies of each picture beside one another.

import { call } from "../api.js";
import { Card, failed, fileZone, shot } from "./card.js";
import { h, icon } from "../dom.js";
import { t } from "../messages.js";

export function copiesCard(signal) {
  const email = h("input", { type: "email", required: true, autocomplete: "username" });
  const password = h("input", { type: "password", required: true, minlength: 8, autocomplete: "current-password" });
  let login = null;
  const zone = fileZone({
    label: t("choose-pictures"),
    accept: "image/jpeg,image/png",
    multiple: true,
    take: (files) => card.run(() => copy(card, login, files)),
  });
  zone.hidden = true;
  const enter = (path) => {
    if (!form.reportValidity()) return;
    card.run(async () => {
      login = await card.call("POST", path, { json: { email: email.value, password: password.value }, token: null });
      form.hidden = true;
      zone.hidden = false;
      zone.querySelector("button").focus();
      return [h("p", {}, t("logged-in", { email: email.value }))];
    });
  };
  const form = h(
    "form",
    { class: "row", onsubmit: (event) => (event.preventDefault(), enter("/registration")) },
    h("label", { class: "field" }, h("span", {}, t("email")), email),
    h("label", { class: "field" }, h("span", {}, t("password")), password),
    h("button", { class: "button primary" }, t("register")),
    h("button", { type: "button", class: "button", onclick: () => enter("/login") }, t("log-in")),
  );
  const card = new Card(signal, { id: "copies", title: t("copies-title"), about: t("copies-about"), parts: [form, zone] });
  return card;
}

async function copy(card, { access_token: token }, files) {
  const { task_id: task } = await card.call("POST", "/upload", { form: files.map((file) => ["files", file]), token });
  const { images } = await card.until(({ status }) => ["finished", "error"].includes(status), `/status/${task}`, { token });
  const refused = images.find((image) => image.error);
  if (refused) throw failed(refused.error);
  const rows = images.map(({ img_link: link, rotated, gray, scaled }) =>
    h("div", { class: "shots" }, shot(link, t("original")), shot(rotated, t("rotated")), shot(gray, t("gray")), shot(scaled, t("scaled"))),
  );
  return [...rows, h("button", { type: "button", class: "button", onclick: () => saveZip(task, token) }, icon("down"), t("download-copies"))];
}

// The call wants a token, which a link cannot bring along.
async function saveZip(task, token) {
  const { value } = await call("GET", `/task/${task}`, { token, as: "blob" });
  const address = URL.createObjectURL(value);
  h("a", { href: address, download: `${task}.zip` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
