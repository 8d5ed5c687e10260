// What a person changes of one photo: seen at once, sent one after the other, none lost.

import { call, imageAddress } from "./api.js";

export class Edits {
  image;
  #address;
  #etag = null;
  #queue = Promise.resolve();
  #failed;

  // `failed` is told the refusal of a change; the photo is then as the service has it.
  constructor(task, id, failed) {
    this.#address = imageAddress(task, id);
    this.#failed = failed;
    this.loaded = this.#load();
    this.loaded.catch(() => {}); // whoever waits for it is told
  }

  get address() {
    return this.#address;
  }

  get faces() {
    return this.image.faces;
  }

  // Corrects a face. What is named changes at once.
  correct(number, said) {
    const face = this.#find(number);
    if (!face) return null;
    if (!face.corrected) face.detected = { ...face };
    Object.assign(face, said, { corrected: true });
    return this.#send("PATCH", `/faces/${number}`, said);
  }

  undo(number) {
    const face = this.#find(number);
    return face?.detected ? this.#send("DELETE", `/faces/${number}/correction`, null) : null;
  }

  // Takes away what is no face: one that a person added goes, one that the engine found is marked.
  reject(number) {
    const face = this.#find(number);
    if (!face) return null;
    this.image.faces = this.faces.filter((one) => one !== face);
    if (face.corrected && !face.detected) return this.#send("DELETE", `/faces/${number}`);
    this.image.rejected_faces = [...this.image.rejected_faces, { ...face, corrected: true }];
    return this.#send("PATCH", `/faces/${number}`, { is_face: false });
  }

  restore(number) {
    return this.#send("PATCH", `/faces/${number}`, { is_face: true });
  }

  add(bbox) {
    return this.#send("POST", "/faces", { bbox, gender: "unknown", age: null });
  }

  // Says at `address` that the photo is right as it stands now; resolves to whether the service took it.
  confirm(address) {
    return this.#then(async () => {
      await call("PUT", address, { match: this.#etag });
    });
  }

  #find(number) {
    return this.faces.find((face) => face.number === number);
  }

  #send(method, path, said) {
    return this.#then(async () => {
      const { etag, value } = await call(method, this.#address + path, { json: said ?? undefined, match: this.#etag });
      this.#etag = etag;
      if (value) this.#take(value, said);
      return value ?? true;
    });
  }

  // A newer change of the same face may wait to be sent: only what the service alone knows is taken over then.
  #take(face, said) {
    const before = this.#find(face.number);
    if (before && said) {
      const { detected, male_probability, age_low, age_high, quality } = face;
      Object.assign(before, { detected, male_probability, age_low, age_high, quality, corrected: true });
      return;
    }
    this.image.rejected_faces = this.image.rejected_faces.filter((one) => one.number !== face.number);
    if (said?.is_face === false) this.image.rejected_faces.push(face);
    else this.image.faces = [...this.faces.filter((one) => one.number !== face.number), face].sort((one, other) => one.number - other.number);
  }

  #then(act) {
    const result = this.#queue.then(act);
    this.#queue = result.catch(() => {});
    return result.catch(async (error) => {
      await this.#load().catch(() => {});
      this.#failed(error);
      return false;
    });
  }

  async #load() {
    const { etag, value } = await call("GET", this.#address);
    this.image = value;
    this.#etag = etag;
    return value;
  }
}
