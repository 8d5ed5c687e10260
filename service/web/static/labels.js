// Labels beside their faces: over no other face and no other label. One for which there is no room is left out.

const GAP = 3; // pixels

// Places the labels of a frame that lies over an image. It reads the layout once.
export function placeLabels(frame, image) {
  const { clientWidth: width, clientHeight: height } = frame;
  const scale = width / image.width;
  const faces = image.faces.map(({ bbox }) => ({ x: bbox.x * scale, y: bbox.y * scale, width: bbox.width * scale, height: bbox.height * scale }));
  const labels = [...frame.querySelectorAll(".tag")].map((tag) => ({ tag, face: Number(tag.dataset.face), width: tag.offsetWidth, height: tag.offsetHeight }));
  const taken = [];
  for (const label of labels) {
    const isFree = (spot) =>
      spot.x >= 0 && spot.y >= 0 && spot.x + spot.width <= width && spot.y + spot.height <= height &&
      !taken.some((other) => meet(spot, other)) &&
      !faces.some((other, position) => position !== label.face && meet(spot, other));
    const spot = spotsAround(faces[label.face], label, width).find(isFree);
    label.tag.classList.toggle("left-out", !spot);
    if (!spot) continue;
    taken.push(spot);
    label.tag.style.left = `${(100 * spot.x) / width}%`;
    label.tag.style.top = `${(100 * spot.y) / height}%`;
  }
}

// Above, below, right, left, and at the top within a face that is large enough for it.
function spotsAround(face, { width, height }, most) {
  const over = Math.min(Math.max(0, face.x + face.width / 2 - width / 2), Math.max(0, most - width));
  const middle = face.y + face.height / 2 - height / 2;
  const spots = [
    { x: over, y: face.y - height - GAP },
    { x: over, y: face.y + face.height + GAP },
    { x: face.x + face.width + GAP, y: middle },
    { x: face.x - width - GAP, y: middle },
  ];
  if (height < face.height / 4) spots.push({ x: over, y: Math.max(0, face.y + GAP) });
  return spots.map((spot) => ({ ...spot, width, height }));
}

function meet(one, other) {
  return one.x < other.x + other.width && other.x < one.x + one.width && one.y < other.y + other.height && other.y < one.y + one.height;
}
