// Sends photos into a task, batch by batch. A photo that is refused stops no other.

import { call, refusal, Refusal, taskAddress } from "./api.js";
import { alreadyIn } from "./digests.js";
import { pathOf } from "./files.js";
import { dropManifest, keyOf, missingOf, readManifest, writeManifest } from "./manifest.js";
import { bytes, t } from "./messages.js";
import { tellOthers } from "./tabs.js";

const BATCH_FILES = 25;
const BATCH_BYTES = 25e6;
const ABOUT_A_FILE = [413, 415, 422];
const PASSES = [0, 502, 503, 504];
const TRIES = 3;

const uploads = new Map();

export function uploadOf(task) {
  return uploads.get(task);
}

export function someAreUnderWay() {
  return [...uploads.values()].some((upload) => upload.isSending);
}

// Sends files into a task, behind those of an upload that is under way. A task that `isNew` goes if it stays empty.
export async function send(task, files, startsAfterwards, { isNew = false } = {}) {
  const upload = uploads.get(task) ?? new Upload(task, isNew);
  uploads.set(task, upload);
  await upload.add(files, startsAfterwards);
}

// Makes a task and begins to send the files into it; returns its id.
export async function sendIntoNewTask({ files, name, starts }) {
  const { value } = await call("POST", "tasks", { json: name ? { name: name.slice(0, 200) } : {} });
  send(value.id, files, starts, { isNew: true });
  return value.id;
}

class Upload extends EventTarget {
  refused = [];
  total = 0;
  settled = 0;
  accepted = 0;
  state = "waiting"; // then comparing, sending, offline, stopped, done, or empty where a new task is gone again
  problem = null;
  startsAfterwards = false;
  #task;
  #waiting = [];
  #batches = []; // {files, key, wasSent}: made already, to be sent before what waits
  #limits = null;
  #bytesTotal = 0;
  #bytesSettled = 0;
  #bytesSent = 0;
  #before = 0;
  #request = null;
  #isNew;
  #manifest = null;
  #wasInterrupted = false; // the service may have more than the manifest says
  #begin = 0;

  constructor(task, isNew) {
    super();
    this.#task = task;
    this.#isNew = isNew;
  }

  get isSending() {
    return ["comparing", "sending", "offline"].includes(this.state);
  }

  // How much of the bytes has been sent, from 0 to 1.
  get share() {
    return this.#bytesTotal ? Math.min(1, this.#bytesSent / this.#bytesTotal) : 0;
  }

  // Bytes a second, and how many seconds are left; zeros until enough is known.
  get pace() {
    const rate = (1000 * this.#bytesSent) / (performance.now() - this.#begin);
    return this.#bytesSent > BATCH_BYTES / 100 ? { rate, left: (this.#bytesTotal - this.#bytesSent) / rate } : { rate: 0, left: 0 };
  }

  async add(files, startsAfterwards) {
    const wasSending = this.isSending;
    if (!wasSending) this.#beginAnew();
    this.startsAfterwards = startsAfterwards;
    const missing = await this.#withoutArrived(files);
    this.total += missing.length;
    this.#waiting.push(...missing);
    for (const file of missing) this.#bytesTotal += file.size;
    if (!wasSending) await this.resume();
    else if (this.#limits) this.#leaveOutWhatIsTooMuch();
  }

  // Returns the files that are still to be sent, and enters them into the manifest.
  async #withoutArrived(files) {
    const before = this.#manifest ?? (await readManifest(this.#task));
    this.#wasInterrupted ||= !this.#manifest && Boolean(before && missingOf(before));
    const arrived = new Set(before?.arrived);
    const unknown = files.filter((file) => !arrived.has(keyOf(file, pathOf(file))));
    this.#manifest ??= { total: 0, arrived: this.#wasInterrupted ? before.arrived : [], refused: [] };
    const missing = this.#wasInterrupted ? await this.#withoutKnownBytes(unknown) : unknown;
    this.#manifest.total = this.#manifest.arrived.length + this.#manifest.refused.length + this.#waiting.length + missing.length;
    await writeManifest(this.#task, this.#manifest);
    return missing;
  }

  async #withoutKnownBytes(files) {
    if (!this.isSending) this.state = "comparing";
    this.#changed();
    const there = await alreadyIn(this.#task, files);
    this.#manifest.arrived.push(...[...there].map((file) => keyOf(file, pathOf(file))));
    return files.filter((file) => !there.has(file));
  }

  // Takes what has not been sent out of the upload, which ends with that.
  async takeRest() {
    const files = [...this.#batches.flatMap((batch) => batch.files), ...this.#waiting];
    this.#batches = [];
    this.#waiting = [];
    this.total -= files.length;
    this.state = "done";
    await this.#keepRefused();
    this.#changed();
    return files;
  }

  async resume() {
    this.state = "sending";
    this.problem = null;
    this.#begin = performance.now();
    this.#changed();
    try {
      this.#limits = (await call("GET", "limits")).value;
      await this.#takeStock();
      this.#leaveOutWhatIsTooMuch();
      while (this.state !== "stopped" && (this.#batches.length || this.#waiting.length)) await this.#send(this.#take());
      if (this.state !== "stopped") await this.#finish();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.state = "stopped";
      this.problem = error;
    }
    this.#changed();
  }

  // Finds out how many photos were there before this upload, and whether the batch that was cut off had arrived.
  async #takeStock() {
    const [first] = this.#batches;
    if (first?.wasSent && (await this.#hasArrived(first))) {
      this.#batches.shift();
      this.#accept(first);
    }
    this.#before = (await call("GET", taskAddress(this.#task))).value.progress.total - this.accepted;
  }

  stop() {
    this.state = "stopped";
    this.#request?.abort();
    this.#changed();
  }

  async #finish() {
    if (this.#isNew && !this.accepted) {
      this.state = "empty";
      this.#changed(); // who looks at the task leaves it before it is gone
      await call("DELETE", taskAddress(this.#task));
      await dropManifest(this.#task);
      return;
    }
    await this.#keepRefused();
    const hasPhotos = this.accepted || this.#wasInterrupted;
    if (this.startsAfterwards && hasPhotos) await call("POST", `${taskAddress(this.#task)}/start`);
    this.state = "done";
  }

  // All has been sent: only the list of what was refused stays with the task.
  async #keepRefused() {
    const { refused } = this.#manifest;
    this.#manifest = null;
    if (refused.length) await writeManifest(this.#task, { total: refused.length, arrived: [], refused });
    else await dropManifest(this.#task);
  }

  #beginAnew() {
    Object.assign(this, { refused: [], total: 0, settled: 0, accepted: 0 });
    this.#waiting = [];
    this.#batches = [];
    this.#bytesTotal = this.#bytesSettled = this.#bytesSent = 0;
  }

  // What the service would refuse anyway is not sent to it: gigabytes would travel for nothing.
  #leaveOutWhatIsTooMuch() {
    const limits = this.#limits;
    const onTheirWay = this.#batches.reduce((sum, { files }) => sum + files.length, 0);
    const room = limits.max_images_per_task - this.#before - this.accepted - onTheirWay;
    const fitting = [];
    for (const file of this.#waiting) {
      if (file.size > limits.max_image_bytes) {
        const most = bytes(limits.max_image_bytes);
        this.#refuse(file, t("file-too-large", { name: pathOf(file), size: bytes(file.size), most }));
      } else if (fitting.length >= room) {
        this.#refuse(file, t("task-full", { name: pathOf(file), most: limits.max_images_per_task }));
      } else {
        fitting.push(file);
      }
    }
    this.#waiting = fitting;
  }

  #take() {
    if (this.#batches.length) return this.#batches.shift();
    let size = 0;
    let count = 0;
    while (count < this.#waiting.length && count < BATCH_FILES) {
      size += this.#waiting[count].size;
      if (count && size > BATCH_BYTES) break;
      count += 1;
    }
    return batchOf(this.#waiting.splice(0, count));
  }

  async #send(batch) {
    try {
      await this.#postUntilAnswered(batch);
      this.#accept(batch);
    } catch (error) {
      const isAboutAFile = ABOUT_A_FILE.includes(error.status) || error.cannotBeSent;
      if (this.state === "stopped" || !isAboutAFile) {
        this.#batches.unshift(batch);
        if (this.state !== "stopped") throw error;
      } else if (batch.files.length === 1) {
        this.#refuseAs(batch.files[0], error);
      } else {
        this.#sendApart(batch.files, error);
      }
    }
  }

  // The service refuses a request as a whole and names the file. Without a name that fits, halves find it.
  #sendApart(files, error) {
    const named = files.filter((file) => error.detail.startsWith(`${pathOf(file)} `));
    if (named.length === 1) {
      this.#refuseAs(named[0], error);
      this.#batches.unshift(batchOf(files.filter((file) => file !== named[0])));
    } else {
      const middle = Math.ceil(files.length / 2);
      this.#batches.unshift(batchOf(files.slice(0, middle)), batchOf(files.slice(middle)));
    }
  }

  async #postUntilAnswered(batch) {
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#post(batch);
        return;
      } catch (error) {
        if (this.state === "stopped" || !PASSES.includes(error.status)) throw error;
        await this.#untilReachable(error.retryAfter || tries);
        if (this.state === "stopped") throw error;
        if (await this.#hasArrived(batch)) return;
        if (tries >= TRIES) throw Object.assign(error, { cannotBeSent: error.status === 0 });
      }
    }
  }

  // An answer can get lost when all went well: then the photos must not come twice.
  async #hasArrived(batch) {
    const { value } = await call("GET", taskAddress(this.#task));
    return value.progress.total >= this.#before + this.accepted + batch.files.length;
  }

  async #untilReachable(pause) {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * pause));
      if (this.state === "stopped") return;
      try {
        await call("GET", "limits");
        this.state = "sending";
        this.#changed();
        return;
      } catch (error) {
        if (!PASSES.includes(error.status)) throw error;
        this.state = "offline";
        this.#changed();
      }
    }
  }

  #post(batch) {
    batch.wasSent = true;
    const form = new FormData();
    for (const file of batch.files) {
      form.append("image", file, file.name);
      form.append("name", pathOf(file));
    }
    const whole = batch.files.reduce((sum, file) => sum + file.size, 0);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.#request = request;
      request.open("POST", `${taskAddress(this.#task)}/images${this.#wasInterrupted ? "?skip_existing=true" : ""}`);
      request.setRequestHeader("Idempotency-Key", batch.key);
      request.upload.onprogress = (event) => this.#progress(Math.min(whole, event.loaded));
      request.onload = () => {
        if (request.status < 300) resolve();
        else reject(refusal(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      };
      request.onerror = request.onabort = () => reject(new Refusal(0));
      request.send(form);
    });
  }

  #progress(loaded) {
    this.#bytesSent = Math.max(this.#bytesSent, this.#bytesSettled + loaded);
    this.#changed();
  }

  #accept(batch) {
    this.accepted += batch.files.length;
    this.#manifest?.arrived.push(...batch.files.map((file) => keyOf(file, pathOf(file))));
    this.#settle(batch.files);
  }

  // What the service said has a code; what the page says itself has none.
  #refuseAs(file, { detail, code }) {
    if (detail) this.#refuse(file, detail, code);
    else this.#refuse(file, t("file-unreadable", { name: pathOf(file) }));
  }

  #refuse(file, detail, code = null) {
    const refusal = { name: pathOf(file), detail, code };
    this.refused.push(refusal);
    this.#manifest?.refused.push(refusal);
    this.#settle([file]);
  }

  #settle(files) {
    this.settled += files.length;
    for (const file of files) this.#bytesSettled += file.size;
    this.#bytesSent = Math.max(this.#bytesSent, this.#bytesSettled);
    if (this.#manifest) writeManifest(this.#task, this.#manifest);
    this.dispatchEvent(new Event("settled"));
    this.#changed();
  }

  #changed() {
    tellOthers(this.#task, this);
    this.dispatchEvent(new Event("change"));
  }
}

// The key lets the service tell a batch that comes again. randomUUID is not there where plain http serves other machines.
function batchOf(files) {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return { files, key, wasSent: false };
}
