// Sends photos into a task, batch by batch. A photo that is refused stops no other.

import { call, refusal, Refusal, taskAddress } from "./api.js";
import { bytes, t } from "./messages.js";

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

// Sends files into a task, behind those of an upload that is under way.
export async function send(task, files, startsAfterwards) {
  const upload = uploads.get(task) ?? new Upload(task);
  uploads.set(task, upload);
  await upload.add(files, startsAfterwards);
}

class Upload extends EventTarget {
  refused = [];
  total = 0;
  settled = 0;
  accepted = 0;
  state = "waiting"; // then sending, offline, stopped, done
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

  constructor(task) {
    super();
    this.#task = task;
  }

  get isSending() {
    return this.state === "sending" || this.state === "offline";
  }

  // How much of the bytes has been sent, from 0 to 1.
  get share() {
    return this.#bytesTotal ? Math.min(1, this.#bytesSent / this.#bytesTotal) : 0;
  }

  async add(files, startsAfterwards) {
    if (!this.isSending) this.#beginAnew();
    this.startsAfterwards = startsAfterwards;
    this.total += files.length;
    this.#waiting.push(...files);
    for (const file of files) this.#bytesTotal += file.size;
    if (!this.isSending) await this.resume();
    else if (this.#limits) this.#leaveOutWhatIsTooMuch();
  }

  async resume() {
    this.state = "sending";
    this.problem = null;
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
    if (this.startsAfterwards && this.accepted) await call("POST", `${taskAddress(this.#task)}/start`);
    this.state = "done";
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
        this.#refuse(file, t("file-too-large", { name: file.name, size: bytes(file.size), most }));
      } else if (fitting.length >= room) {
        this.#refuse(file, t("task-full", { name: file.name, most: limits.max_images_per_task }));
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
    const named = files.filter((file) => error.detail.startsWith(`${file.name} `));
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
    for (const file of batch.files) form.append("image", file, file.name);
    const whole = batch.files.reduce((sum, file) => sum + file.size, 0);
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.#request = request;
      request.open("POST", `${taskAddress(this.#task)}/images`);
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
    this.#settle(batch.files);
  }

  // What the service said has a code; what the page says itself has none.
  #refuseAs(file, { detail, code }) {
    if (detail) this.#refuse(file, detail, code);
    else this.#refuse(file, t("file-unreadable", { name: file.name }));
  }

  #refuse(file, detail, code = null) {
    this.refused.push({ name: file.name, detail, code });
    this.#settle([file]);
  }

  #settle(files) {
    this.settled += files.length;
    for (const file of files) this.#bytesSettled += file.size;
    this.#bytesSent = Math.max(this.#bytesSent, this.#bytesSettled);
    this.dispatchEvent(new Event("settled"));
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

// The key lets the service tell a batch that comes again. randomUUID is not there where plain http serves other machines.
function batchOf(files) {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return { files, key, wasSent: false };
}
