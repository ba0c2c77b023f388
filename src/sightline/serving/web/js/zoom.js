// A sheet on a stage: zoom by wheel, pinch, double click and buttons; pan by dragging.
const MOST = 8;

export class Zoom {
  #stage;
  #sheet;
  #size = { width: 1, height: 1 };
  #scale = 1;
  #x = 0;
  #y = 0;
  #fitted = true;
  #pointers = new Map();
  #told;

  /** `told(scale)` is called with the scale, 1 = the image's own pixels. */
  constructor(stage, sheet, told) {
    this.#stage = stage;
    this.#sheet = sheet;
    this.#told = told;
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => this.#up(event));
    stage.addEventListener("dblclick", (event) => this.#double(event));
    new ResizeObserver(() => (this.#fitted ? this.fit() : this.#draw())).observe(stage);
  }

  /** Shows a sheet of this size, as a whole. */
  show(width, height) {
    this.#size = { width, height };
    this.#sheet.style.width = `${width}px`;
    this.#sheet.style.height = `${height}px`;
    this.fit();
  }

  fit() {
    const { clientWidth, clientHeight } = this.#stage;
    if (!clientWidth || !clientHeight) return;
    const room = Math.min(40, clientWidth * 0.06);
    this.#scale = Math.min((clientWidth - room) / this.#size.width, (clientHeight - 40) / this.#size.height);
    this.#x = (clientWidth - this.#size.width * this.#scale) / 2;
    this.#y = (clientHeight - this.#size.height * this.#scale) / 2;
    this.#fitted = true;
    this.#draw();
  }

  /** Zooms about the middle of the stage. */
  by(factor) {
    this.#about(this.#stage.clientWidth / 2, this.#stage.clientHeight / 2, factor);
  }

  #about(x, y, factor) {
    const least = Math.min(0.1, this.#scale);
    const scale = Math.min(MOST, Math.max(least, this.#scale * factor));
    this.#x = x - ((x - this.#x) * scale) / this.#scale;
    this.#y = y - ((y - this.#y) * scale) / this.#scale;
    this.#scale = scale;
    this.#fitted = false;
    this.#draw();
  }

  #draw() {
    const { clientWidth, clientHeight } = this.#stage;
    const [width, height] = [this.#size.width * this.#scale, this.#size.height * this.#scale];
    const held = (at, size, room) => (size <= room ? (room - size) / 2 : Math.min(60, Math.max(room - size - 60, at)));
    this.#x = held(this.#x, width, clientWidth);
    this.#y = held(this.#y, height, clientHeight);
    this.#sheet.style.transform = `translate(${this.#x}px, ${this.#y}px) scale(${this.#scale})`;
    this.#told(this.#scale);
  }

  #at(event) {
    const box = this.#stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #wheel(event) {
    if (event.target.closest(".legend-card")) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    this.#about(...this.#at(event), Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)));
  }

  #double(event) {
    if (event.target.closest("button, .legend-card")) return;
    if (this.#fitted) this.#about(...this.#at(event), 2.5);
    else this.fit();
  }

  #down(event) {
    if (event.target.closest("button, .legend-card") || event.button > 0) return;
    this.#stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#at(event));
    this.#stage.classList.add("held");
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#at(event);
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const spread = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
      this.#about((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, spread(now) / Math.max(1, spread(before)));
    } else {
      this.#x += now[0] - before[0];
      this.#y += now[1] - before[1];
      this.#draw();
    }
    this.#pointers.set(event.pointerId, now);
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    if (!this.#pointers.size) this.#stage.classList.remove("held");
  }
}
