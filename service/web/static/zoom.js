// Zooms the photo of the large view, by wheel, fingers, double click and keys, and moves it about in its stage.

const STEP = 1.3;
const MOST = 2; // pixels of the screen for one of the photo
const SWIPE = 40; // pixels
const DRAG = 4; // pixels: less is a click

export class Zoom {
  #stage;
  #frame = null;
  #image = null;
  #scale = 1; // over the size that fits the stage
  #at = { x: 0, y: 0 }; // the middle of the photo, from that of the stage
  #pointers = new Map(); // that are down, by their ids
  #start = null; // where the first came down
  #onSwipe;
  #onChange;

  // `onSwipe` is told -1 or 1 where a finger led sideways over a photo that is not zoomed in; `onChange` each new size.
  constructor(stage, { onSwipe, onChange }) {
    this.#stage = stage;
    this.#onSwipe = onSwipe;
    this.#onChange = onChange;
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("dblclick", (event) => this.#set(this.isIn ? 1 : Math.max(STEP ** 3, this.#original()), event));
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => this.#up(event));
    new ResizeObserver(() => this.#frame && this.#set(this.#scale)).observe(stage);
  }

  show(frame, image) {
    this.#frame = frame;
    this.#image = image;
    this.#scale = 1;
    this.#at = { x: 0, y: 0 };
    this.#pointers.clear();
    this.#apply();
  }

  get isIn() {
    return this.#scale > 1.01;
  }

  // Does what the key stands for; returns whether it stands for anything here.
  key({ key, shiftKey }) {
    const ways = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (key === "+" || key === "=") this.#set(this.#scale * STEP);
    else if (key === "-") this.#set(this.#scale / STEP);
    else if (key === "0") this.#set(1);
    else if (key === "1") this.#set(this.#original());
    else if (ways[key] && (shiftKey || (this.isIn && ways[key][1]))) this.#shift(...ways[key].map((way) => 80 * way));
    else return false;
    return true;
  }

  // The size that fits the stage, never more than twice the photo's own.
  #fitting() {
    const { clientWidth, clientHeight } = this.#stage;
    return Math.max(1, Math.min(clientWidth, (clientHeight * this.#image.width) / this.#image.height, MOST * this.#image.width));
  }

  #original() {
    return this.#image.width / this.#fitting();
  }

  #set(scale, point) {
    const most = Math.max(1, MOST * this.#original());
    const next = Math.min(most, Math.max(Math.min(1, this.#original()), scale));
    const by = next / this.#scale;
    if (point) {
      const { x, y } = this.#fromMiddle(point);
      this.#at = { x: x - (x - this.#at.x) * by, y: y - (y - this.#at.y) * by };
    } else {
      this.#at = { x: this.#at.x * by, y: this.#at.y * by };
    }
    this.#scale = next;
    this.#apply();
  }

  #shift(x, y) {
    this.#at = { x: this.#at.x + x, y: this.#at.y + y };
    this.#apply();
  }

  #apply() {
    const width = this.#fitting() * this.#scale;
    const height = (width * this.#image.height) / this.#image.width;
    const room = { x: Math.max(0, (width - this.#stage.clientWidth) / 2), y: Math.max(0, (height - this.#stage.clientHeight) / 2) };
    for (const side of ["x", "y"]) this.#at[side] = Math.min(room[side], Math.max(-room[side], this.#at[side]));
    this.#frame.style.setProperty("--width", `${width}px`);
    this.#frame.style.setProperty("--at", `${this.#at.x}px ${this.#at.y}px`);
    this.#stage.classList.toggle("movable", room.x > 0 || room.y > 0);
    this.#onChange();
  }

  #fromMiddle({ clientX, clientY }) {
    const { left, top, width, height } = this.#stage.getBoundingClientRect();
    return { x: clientX - left - width / 2, y: clientY - top - height / 2 };
  }

  #wheel(event) {
    event.preventDefault();
    this.#set(this.#scale * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), event);
  }

  #down(event) {
    if (event.button) return;
    this.#pointers.set(event.pointerId, event);
    if (this.#pointers.size === 1) this.#start = event;
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const [one, other] = [...this.#pointers.values()];
    this.#pointers.set(event.pointerId, event);
    if (other) {
      const still = before === one ? other : one;
      const middle = { clientX: (event.clientX + still.clientX) / 2, clientY: (event.clientY + still.clientY) / 2 };
      this.#set((this.#scale * distance(event, still)) / Math.max(1, distance(before, still)), middle);
      this.#start = null;
    } else if (this.isIn) {
      if (distance(event, this.#start ?? before) > DRAG) this.#stage.setPointerCapture(event.pointerId);
      this.#shift(event.clientX - before.clientX, event.clientY - before.clientY);
    } else if (event.pointerType === "touch" && this.#start) {
      this.#stage.style.setProperty("--drag", `${this.#sideways(event)}px`);
    }
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    this.#stage.style.removeProperty("--drag");
    const isSwipe = event.type === "pointerup" && event.pointerType === "touch" && this.#start && !this.isIn;
    const way = isSwipe ? this.#sideways(event) : 0;
    this.#start = null;
    if (Math.abs(way) > SWIPE) this.#onSwipe(way < 0 ? 1 : -1);
  }

  // Returns how far the finger went sideways; 0 if it went rather up or down.
  #sideways({ clientX, clientY }) {
    const way = clientX - this.#start.clientX;
    return Math.abs(way) > Math.abs(clientY - this.#start.clientY) ? way : 0;
  }
}

function distance(one, other) {
  return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
}
