// Files as a person hands them over: picked, or dropped, folders with all that is in them.

const PHOTO = /\.(jpe?g|jfif|png|webp)$/i;
// What systems put beside photos and show to nobody, such as the `._IMG_1.jpg` of a Mac. Nobody misses it, so nobody is told.
const HIDDEN = /^(\.|__MACOSX$)/;

const droppedPaths = new WeakMap();

// Returns the name under which a file is sent: its path below the folder that was chosen or dropped, else its own name.
export function pathOf(file) {
  const path = droppedPaths.get(file) ?? file.webkitRelativePath;
  return path ? path.split("/").slice(1).join("/") : file.name;
}

// Returns {files, others, folder}: the photos, how many files of a folder are none, and the folder's name if it is one.
export async function fromDrop(transfer) {
  // All must be taken before the first wait: the transfer is empty afterwards. What is not from a disk has no entry.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const dropped = items.map((item) => [item.webkitGetAsEntry(), item.getAsFile()]);
  const found = { files: [], others: 0, folder: null };
  if (dropped.length === 1 && dropped[0][0]?.isDirectory) found.folder = dropped[0][0].name;
  for (const [entry, file] of dropped) {
    if (entry) await walk(entry, found, false);
    else if (file) found.files.push(file);
  }
  return found;
}

export function fromPicker(input) {
  const isFolder = input.webkitdirectory;
  const all = [...input.files].filter((file) => !isFolder || !isHidden(file));
  const files = isFolder ? all.filter((file) => PHOTO.test(file.name)) : all;
  if (isFolder) files.sort((one, other) => compare(one.webkitRelativePath, other.webkitRelativePath));
  const folder = isFolder && input.files.length ? input.files[0].webkitRelativePath.split("/")[0] : null;
  input.value = "";
  return { files, others: all.length - files.length, folder };
}

function isHidden(file) {
  return file.webkitRelativePath.split("/").slice(1).some((part) => HIDDEN.test(part));
}

async function walk(entry, found, inside) {
  if (entry.isFile) {
    // What somebody drops by hand is sent, whatever it is, so that the service says what is wrong with it.
    if (inside && !PHOTO.test(entry.name)) found.others += 1;
    else {
      const file = await new Promise((take, fail) => entry.file(take, fail));
      if (inside) droppedPaths.set(file, entry.fullPath.slice(1));
      found.files.push(file);
    }
    return;
  }
  const reader = entry.createReader();
  const children = [];
  // A reader gives at most a hundred entries at a time, and none at the end.
  for (;;) {
    const some = await new Promise((take, fail) => reader.readEntries(take, fail));
    if (!some.length) break;
    children.push(...some);
  }
  const seen = children.filter((child) => !HIDDEN.test(child.name));
  seen.sort((one, other) => compare(one.name, other.name));
  for (const child of seen) await walk(child, found, true);
}

function compare(one, other) {
  return one.localeCompare(other, undefined, { numeric: true });
}
