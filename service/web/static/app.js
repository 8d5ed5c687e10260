// Begins the page: the language, the view that the address names, and the way from one to another.

import { h } from "./dom.js";
import { FacesView } from "./faces-view.js";
import { ListView } from "./list.js";
import { language, speak, t } from "./messages.js";
import { notice } from "./parts.js";
import "./pictures.js";
import { arrive, comeBack, enter, leave, photoAt, recall, remember, write } from "./place.js";
import { ReviewView } from "./review.js";
import { TaskView } from "./task.js";
import { ToolsView } from "./tools/view.js";
import { someAreUnderWay } from "./upload.js";

const OTHERS = { en: ["ru", "Русский"], ru: ["en", "English"] };
const YEAR = 31536000;

const main = document.getElementById("main");
let view = null;
let path = "";

async function show(news) {
  leave();
  view?.stop();
  path = pageHere();
  const shown = viewOf(path, news);
  view = shown;
  main.replaceChildren(view.element);
  name();
  await shown.drawn;
  if (shown !== view) return;
  await comeBack();
  turn();
}

// Returns the present address without the photo that is in large: that is the same page.
function pageHere() {
  return location.pathname.replace(/\/photos\/[^/]+$/, "");
}

function turn() {
  view.turnTo?.({ ...recall(), photo: photoAt(location.pathname) });
}

function viewOf(address, news) {
  if (address === "/tools") return new ToolsView();
  const [task, part, one, work] = address.split("/").slice(2).map(decoded);
  if (part === "review") return new ReviewView(task, { review: one });
  if (part === "photos" && work === "correct") return new ReviewView(task, { photo: one });
  if (part === "faces") return new FacesView(task);
  return task ? new TaskView(go, task, news) : new ListView(go);
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // no task has such a name, and the service will say so
  }
}

function go(address, news) {
  enter(address);
  show(news);
  scrollTo(0, 0);
  (main.querySelector("h1") ?? main).focus({ preventScroll: true });
}

function name() {
  document.title = view.title ? `${view.title} · ${t("service")}` : t("service");
}

function label() {
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.ariaLabel = t(element.dataset.label);
  const [other, itsName] = OTHERS[language()];
  const button = document.getElementById("language");
  button.textContent = itsName;
  button.lang = other;
}

async function switchLanguage() {
  const [other] = OTHERS[language()];
  await speak(other);
  document.cookie = `language=${other}; path=/; max-age=${YEAR}; samesite=lax`;
  label();
  write();
  show();
}

function lockedOut() {
  const reload = h("button", { type: "button", class: "button", onclick: () => location.reload() }, t("reload"));
  const before = main.querySelector(".locked-out");
  const now = h("div", { class: "locked-out" }, notice("danger", h("p", {}, t("locked-out"))), reload);
  if (before) before.replaceWith(now);
  else main.prepend(now);
}

document.addEventListener("titled", name);
document.addEventListener("locked-out", lockedOut);
document.getElementById("language").addEventListener("click", switchLanguage);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/tasks'], a[href='/tools']");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
addEventListener("popstate", () => {
  arrive();
  if (pageHere() !== path) {
    show();
    return;
  }
  turn();
  remember();
});
addEventListener("beforeunload", (event) => {
  if (someAreUnderWay()) event.preventDefault();
});

await speak(language());
label();
show();
