// Recordings: a WAV, from a file or the microphone, becomes an MP3 with a link.

import { Card, field, fileZone } from "./card.js";
import { h, icon } from "../dom.js";
import { t } from "../messages.js";
import { recordWav } from "./microphone.js";

export function recordingsCard(signal) {
  const name = field(t("your-name"), { type: "text", value: "Ada", maxlength: 100, required: true });
  let user = null; // the account that the first recording made
  const hand = (file) =>
    card.run(async () => {
      user ??= await card.call("POST", "/users", { json: { name: name.querySelector("input").value } });
      return [await convert(card, user, file)];
    });
  const zone = fileZone({ label: t("choose-wav"), accept: "audio/wav,audio/x-wav,.wav", take: ([file]) => hand(file) });
  const parts = [h("div", { class: "row" }, name), zone];
  if (navigator.mediaDevices) parts.push(recorder(hand, signal));
  const card = new Card(signal, { id: "recordings", title: t("recordings-title"), about: t("recordings-about"), parts });
  return card;
}

async function convert(card, { id, token }, file) {
  const { url } = await card.call("POST", "/records", { form: [["user", id], ["token", token], ["audio", file]], token: null });
  return h("div", { class: "player" }, h("audio", { controls: true, src: url }), h("a", { href: url }, icon("down"), t("sound-link")));
}

// The button begins and ends a recording.
function recorder(hand, signal) {
  let stop = null;
  const note = h("p", { role: "status" });
  const button = h("button", { type: "button", class: "button", onclick: turn }, t("record"));
  async function turn() {
    if (stop) {
      const file = await stop();
      stop = null;
      button.textContent = t("record");
      hand(file);
      return;
    }
    try {
      stop = await recordWav();
      note.textContent = "";
      button.textContent = t("stop-recording");
    } catch {
      note.textContent = t("no-microphone");
    }
  }
  signal.addEventListener("abort", () => stop?.());
  return h("div", { class: "row" }, button, note);
}
