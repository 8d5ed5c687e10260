// Pictures that did not arrive are asked for again, ever more seldom, and at once when the service can be reached again.
// Until then the style sheet keeps away the browser's mark for a broken picture.

const PAUSES = [1, 2, 4, 8, 15, 30, 60]; // seconds

const tries = new WeakMap();

export function askAgain() {
  for (const picture of document.querySelectorAll("img.missing")) {
    tries.delete(picture);
    load(picture);
  }
}

function load(picture) {
  if (picture.isConnected && picture.classList.contains("missing")) picture.setAttribute("src", picture.getAttribute("src"));
}

// Neither event rises to the document, but both pass by it on their way down.
document.addEventListener(
  "error",
  ({ target }) => {
    if (!(target instanceof HTMLImageElement)) return;
    target.classList.add("missing");
    const before = tries.get(target) ?? 0;
    tries.set(target, before + 1);
    if (before < PAUSES.length) setTimeout(() => load(target), 1000 * PAUSES[before]);
  },
  true,
);
document.addEventListener("load", ({ target }) => target.classList?.remove("missing"), true);
document.addEventListener("visibilitychange", () => document.hidden || askAgain());
addEventListener("online", askAgain);
