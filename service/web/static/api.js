// The service's interface: calls, refusals, and watching what changes.

const ROOT = "/api/v1";

// What the service refused. The detail is its sentence for people, the code stands for it; without an answer the status
// is 0.
export class Refusal extends Error {
  constructor(status, { detail = "", code = "" } = {}, retryAfter = 0) {
    super(detail);
    this.status = status;
    this.detail = detail;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

export function taskAddress(id) {
  return `${ROOT}/tasks/${encodeURIComponent(id)}`;
}

export function imageAddress(task, image) {
  return `${taskAddress(task)}/images/${encodeURIComponent(image)}`;
}

// `form` are pairs of a form, files among them. With a `token`, or null for none, it is not the account of the page that
// calls. `as` is how the answer is read: "blob", else JSON. `match` is the `ETag` that what is changed must still have.
export async function call(method, address, { json, form, etag, match, token, as, signal } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (json) headers["Content-Type"] = "application/json";
  if (etag) headers["If-None-Match"] = etag;
  if (match) headers["If-Match"] = match;
  const path = address.startsWith("/") ? address : `${ROOT}/${address}`;
  const body = form ? formOf(form) : json && JSON.stringify(json);
  let answer, content;
  try {
    answer = await fetch(path, { method, headers, signal, body });
    content = answer.ok && as === "blob" ? await answer.blob() : await answer.text();
  } catch {
    throw new Refusal(0); // broken off while it was read, too
  }
  const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  if (answer.status === 304) return { changed: false, retryAfter };
  if (!answer.ok) throw refusal(answer.status, content, retryAfter, token === undefined);
  if (as === "blob") return { changed: true, value: content };
  return { changed: true, retryAfter, etag: answer.headers.get("ETag"), value: content ? JSON.parse(content) : null };
}

function formOf(pairs) {
  const form = new FormData();
  for (const [name, value] of pairs) form.append(name, value);
  return form;
}

export function refusal(status, text, retryAfter, isOfThePage = true) {
  if (status === 401 && isOfThePage) document.dispatchEvent(new Event("locked-out"));
  let problem = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // Something between here and the service answered in its own way: there is no sentence to show.
  }
  return new Refusal(status, problem, Number(retryAfter) || 0);
}

// A task as it was last told, brought up to date by what has changed since.
export class TaskCopy {
  value = null;
  #address;
  #etag = null;
  #images = new Map();
  #leaving = new AbortController();

  constructor(id) {
    this.#address = taskAddress(id);
  }

  // Returns whether something has changed, and whether the service waited for it: then it may be asked again at once.
  async refresh(seconds) {
    const since = this.value?.version ?? 0;
    const { signal } = this.#leaving;
    const options = { etag: this.#etag, signal };
    const answer = await call("GET", `${this.#address}?since=${since}&wait=${seconds}`, options);
    const hasWaited = seconds > 0 && !answer.retryAfter;
    if (!answer.changed) return { changed: false, hasWaited };
    const { images, removed, ...members } = answer.value;
    for (const id of removed) this.#images.delete(id);
    this.#keep(images);
    for (let cursor = members.images_next; cursor; ) {
      const page = await call("GET", `${this.#address}/images?limit=1000&cursor=${encodeURIComponent(cursor)}`, { signal });
      this.#keep(page.value.items);
      cursor = page.value.next;
    }
    this.value = { ...members, images: [...this.#images.values()] };
    this.#etag = answer.etag;
    return { changed: true, hasWaited };
  }

  stop() {
    this.#leaving.abort();
  }

  // What is new comes last: images are told in the order of upload.
  #keep(images) {
    for (const image of images) this.#images.set(image.id, image);
  }
}

const SOONEST = 500;
const LATEST = 5000;

// Asks again and again: every half a second after a change, or where the service waits for one, then ever more seldom up
// to five seconds, never while nobody looks. Where the service does not wait, an answer that took long is not asked for
// again before five times as long has passed.
export class Watch {
  #ask;
  #trouble;
  #timer = 0;
  #pause = SOONEST;
  #busy = false;
  #again = false;
  #stopped = false;

  constructor(ask, trouble) {
    this.#ask = ask;
    this.#trouble = trouble;
    document.addEventListener("visibilitychange", this.#seen);
    this.poke();
  }

  // Ask now: something has just been done that changes the answer.
  poke() {
    this.#pause = SOONEST;
    this.#again = this.#busy;
    if (!this.#busy) this.#turn();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#seen);
  }

  #seen = () => {
    if (!document.hidden) this.poke();
  };

  async #turn() {
    clearTimeout(this.#timer);
    if (this.#stopped || document.hidden) return;
    this.#busy = true;
    const begin = performance.now();
    let goesOn = true;
    let changed = false;
    let hasWaited = false;
    try {
      ({ changed, goesOn, hasWaited } = await this.#ask());
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // To ask on without a password would bring up the browser's question again and again.
      goesOn = !this.#stopped && this.#trouble(error) && error.status !== 401;
    } finally {
      this.#busy = false;
    }
    const least = hasWaited ? SOONEST : Math.min(LATEST, Math.max(SOONEST, 5 * (performance.now() - begin)));
    this.#pause = changed || hasWaited ? least : Math.max(least, Math.min(LATEST, this.#pause * 1.5));
    if (this.#again) {
      this.#again = false;
      this.#turn();
    } else if (goesOn && !this.#stopped) {
      this.#timer = setTimeout(() => this.#turn(), this.#pause);
    }
  }
}
