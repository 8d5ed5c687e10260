// Which files a task has already, known by their bytes: names and times may have changed.

import { call, Refusal, taskAddress } from "./api.js";

// Returns those of the files that the task has. Where there is no secure context, and so no SHA-256, none is known.
export async function alreadyIn(task, files) {
  const there = new Set();
  if (!crypto.subtle) return there;
  const { sizes, digests } = await imagesOf(task);
  for (const file of files) if (sizes.has(file.size) && digests.has(await digestOf(file))) there.add(file);
  return there;
}

async function imagesOf(task) {
  const sizes = new Set();
  const digests = new Set();
  let cursor = "";
  do {
    let value;
    try {
      ({ value } = await call("GET", `${taskAddress(task)}/images?limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      break; // what is sent twice is left out by the service
    }
    for (const { size, digest } of value.items) {
      sizes.add(size);
      digests.add(digest);
    }
    cursor = value.next;
  } while (cursor);
  return { sizes, digests };
}

async function digestOf(file) {
  try {
    const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
    return `sha-256:${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  } catch {
    return ""; // it cannot be read any more: sending it says so
  }
}
