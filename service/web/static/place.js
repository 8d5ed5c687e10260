// Where a person was: how far down, how many tasks were shown, which photo was open. The history keeps it with each of its
// entries, through Back, Forward and Reload. The browser's own memory of it fails, since all is drawn after it has looked.

const REST = 300; // milliseconds: browsers refuse a page that writes into its history too often
const MARKS = ".card, .tasks > li";
const FRAMES = 4;

let waiting = {};
let waitingAddress = null;
let timer = 0;
let isComing = false; // what the entry has is still the place to come back to
let arrivals = 0;

history.scrollRestoration = "manual";

export function recall() {
  return { ...history.state, ...waiting };
}

// Keeps this with the present entry, as soon as there is rest.
export function remember(what = {}) {
  Object.assign(waiting, what);
  clearTimeout(timer);
  timer = setTimeout(write, REST);
}

// Returns the address of a task's page, with this photo in large if one is given.
export function pageOf(task, photo) {
  const page = `/tasks/${encodeURIComponent(task)}`;
  return photo ? `${page}/photos/${encodeURIComponent(photo)}` : page;
}

// Returns the photo that is in large at an address of pages, or nothing.
export function photoAt(address) {
  return address.match(/^\/tasks\/[^/]+\/photos\/([^/]+)$/)?.[1];
}

// Gives the present entry another address, as soon as there is rest.
export function move(address) {
  waitingAddress = address;
  remember();
}

// Begins an entry, or begins the present one anew where that has the same address.
export function enter(address, what = null) {
  write();
  if (address === location.pathname && !what) history.replaceState(null, "");
  else history.pushState(what, "", address);
}

// The present entry is another one: what was not yet written belongs to the one before.
export function arrive() {
  clearTimeout(timer);
  waiting = {};
  waitingAddress = null;
}

// From now on until `comeBack` the present entry keeps its place, whatever scrolls.
export function leave() {
  isComing = true;
  arrivals += 1;
}

// Goes to the entry's place, now that all has been drawn. What is seen for the first time takes its size only then.
export async function comeBack() {
  const { at } = recall();
  const arrival = arrivals;
  for (let frame = 0; at && frame < FRAMES && arrival === arrivals; frame += 1) {
    const mark = document.getElementById(at.mark);
    scrollTo(0, mark ? scrollY + mark.getBoundingClientRect().top - at.top : at.y);
    await new Promise(requestAnimationFrame);
  }
  if (arrival === arrivals) isComing = false;
}

export function write() {
  clearTimeout(timer);
  history.replaceState({ ...recall(), ...(isComing ? {} : { at: here() }) }, "", waitingAddress ?? location.pathname);
  waiting = {};
  waitingAddress = null;
}

// Heights above may differ the next time, so the place is told by the first photo or task in the window, if one is at its top.
function here() {
  const mark = [...document.querySelectorAll(MARKS)].find((one) => one.getBoundingClientRect().bottom > 0);
  const top = mark?.getBoundingClientRect().top;
  return scrollY && top < 50 ? { y: scrollY, mark: mark.id, top } : { y: scrollY };
}

addEventListener("scroll", () => remember(), { passive: true });
addEventListener("pagehide", write);
