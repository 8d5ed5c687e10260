// Uploads of other tabs of this browser: each tab says how far its own are, and the others show it.

const BEAT = 1000; // milliseconds between two words of a tab whose upload stands still
const QUIET = 3000; // without a word for so long a tab is taken for closed
const PACE = 500; // no two words within this time

const channel = new BroadcastChannel("headcount-uploads");
const own = new Map(); // of each task {settled, total, toldAt}
const heard = new Map(); // of each task {settled, total, at}
let beat = 0;

// Tells of each change in `uploadElsewhere`.
export const elsewhere = new EventTarget();

// Returns how far the upload of another tab into this task is, or nothing.
export function uploadElsewhere(task) {
  const upload = heard.get(task);
  return upload && performance.now() - upload.at < QUIET ? upload : null;
}

// Tells the others how far an upload of this tab is.
export function tellOthers(task, { settled, total, isSending }) {
  if (isSending) {
    own.set(task, { settled, total, toldAt: own.get(task)?.toldAt ?? 0 });
    beat ||= setInterval(tell, BEAT);
    tell();
  } else if (own.delete(task)) {
    channel.postMessage({ task, isSending: false });
  }
}

function tell() {
  for (const [task, upload] of own) {
    if (performance.now() - upload.toldAt < PACE) continue;
    upload.toldAt = performance.now();
    channel.postMessage({ task, settled: upload.settled, total: upload.total, isSending: true });
  }
}

function changed() {
  elsewhere.dispatchEvent(new Event("change"));
}

channel.onmessage = ({ data: { task, settled, total, isSending } }) => {
  if (isSending) heard.set(task, { settled, total, at: performance.now() });
  else heard.delete(task);
  changed();
  setTimeout(changed, QUIET + BEAT / 10);
};
