// What is to be uploaded into each task, kept in the browser: it outlives a reload, and the tabs share it.

const STORE = "manifests";

let opened = null;

// A manifest is {total, arrived, refused}: how many files there are, the keys of those that the service has, and those
// that were refused, each with its name, sentence and code. Where the browser keeps nothing there is none.
export async function readManifest(task) {
  return (await request("readonly", (store) => store.get(task))) ?? null;
}

export function writeManifest(task, manifest) {
  return request("readwrite", (store) => store.put(manifest, task));
}

export function dropManifest(task) {
  return request("readwrite", (store) => store.delete(task));
}

// How many files are still to be sent.
export function missingOf({ total, arrived, refused }) {
  return total - arrived.length - refused.length;
}

// A file is known by its name, size and time. Where these have changed, alreadyIn() looks at the bytes.
export function keyOf(file, name) {
  return `${file.size} ${file.lastModified} ${name}`;
}

async function request(mode, act) {
  try {
    opened ??= open();
    const store = (await opened).transaction(STORE, mode).objectStore(STORE);
    return await settled(act(store));
  } catch {
    opened = null; // private windows and full disks keep nothing; then an upload is forgotten with its page
    return undefined;
  }
}

function open() {
  const asked = indexedDB.open("headcount-uploads", 1);
  asked.onupgradeneeded = () => asked.result.createObjectStore(STORE);
  return settled(asked);
}

function settled(asked) {
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}
