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
// calls. `as` is how the answer is read: "blob", else JSON.
export async function call(method, address, { json, form, etag, token, as } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (json) headers["Content-Type"] = "application/json";
  if (etag) headers["If-None-Match"] = etag;
  const path = address.startsWith("/") ? address : `${ROOT}/${address}`;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: form ? formOf(form) : json && JSON.stringify(json) });
  } catch {
    throw new Refusal(0);
  }
  if (answer.status === 304) return { changed: false };
  if (answer.ok && as === "blob") return { changed: true, value: await answer.blob() };
  const text = await answer.text();
  if (!answer.ok) throw refusal(answer.status, text, answer.headers.get("Retry-After"), token === undefined);
  return { changed: true, etag: answer.headers.get("ETag"), value: text ? JSON.parse(text) : null };
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

const SOONEST = 500;
const LATEST = 5000;

// Asks again and again: every half a second after a change, then ever more seldom up to five seconds, never while nobody
// looks. An answer that took long is not asked for again before five times as long has passed.
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
    try {
      ({ changed, goesOn } = await this.#ask());
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // To ask on without a password would bring up the browser's question again and again.
      goesOn = !this.#stopped && this.#trouble(error) && error.status !== 401;
    } finally {
      this.#busy = false;
    }
    const least = Math.min(LATEST, Math.max(SOONEST, 5 * (performance.now() - begin)));
    this.#pause = changed ? least : Math.max(least, Math.min(LATEST, this.#pause * 1.5));
    if (this.#again) {
      this.#again = false;
      this.#turn();
    } else if (goesOn && !this.#stopped) {
      this.#timer = setTimeout(() => this.#turn(), this.#pause);
    }
  }
}
