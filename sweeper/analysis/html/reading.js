/* What a point of a chart is: by pointer, by touch, and by arrow keys. */

const REACH = 32; // pixels around the pointer

class Reading {
  constructor(chart) {
    this.chart = chart;
    this.tip = make("p", { class: "tip", role: "status" });
    this.ring = draw("circle", { r: 7, class: "ring" });
    chart.box.append(this.tip);
    for (const name of ["pointermove", "pointerdown"]) chart.svg.addEventListener(name, (event) => this.point(event));
    chart.svg.addEventListener("pointerleave", () => this.read(null));
    chart.svg.addEventListener("keydown", (event) => this.key(event));
  }

  /** The chart was drawn anew. */
  begin() {
    this.all = this.chart.shown.flatMap((series) => this.chart.places(series));
    this.chart.svg.append(this.ring);
    this.read(null);
  }

  /** Screen pixels per pixel of the drawing. */
  get zoom() {
    return this.chart.svg.getBoundingClientRect().width / this.chart.width || 1;
  }

  point(event) {
    const frame = this.chart.svg.getBoundingClientRect();
    const [x, y] = [(event.clientX - frame.left) / this.zoom, (event.clientY - frame.top) / this.zoom];
    let best = null;
    let nearest = REACH;
    for (const each of this.all) {
      const distance = Math.hypot(each.px - x, each.py - y);
      if (distance < nearest) [best, nearest] = [each, distance];
    }
    this.read(best);
  }

  /** Left and right along a line, up and down to the next line at the same place. */
  key(event) {
    if (event.key === "Escape") return this.read(null);
    if (!this.all.length || !["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
    event.preventDefault();
    const now = this.at;
    const line = this.all.filter(({ series }) => series === (now || this.all[this.all.length - 1]).series);
    if (!now || event.key === "Home") return this.read(line[0]);
    if (event.key === "End") return this.read(line[line.length - 1]);
    const sideways = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const down = event.key === "ArrowDown" ? 1 : -1;
    const next = sideways
      ? line[line.indexOf(now) + sideways]
      : this.all
        .filter(({ i, series, py }) => i === now.i && series !== now.series && down * (py - now.py) >= 0)
        .sort((a, b) => Math.abs(a.py - now.py) - Math.abs(b.py - now.py))[0];
    if (next) this.read(next);
  }

  /** Show what a point is; null: nothing. */
  read(point) {
    this.at = point;
    this.ring.setAttribute("visibility", point ? "visible" : "hidden");
    this.tip.hidden = !point;
    if (!point) return;
    const { spec, controls, unit, box } = this.chart;
    const { series, number, i, value, px, py } = point;
    const cell = series.points[number][2] ?? series.cell;
    const lines = [
      controls.words(series.keys),
      `${spec.x.name} = ${spec.x.texts[i]}`,
      series.texts ? `${spec.y.name}: ${series.texts[number]}` : `${unit}: ${written(value)}`,
      cell === undefined ? "" : `cell ${spec.cells[cell]}`,
    ];
    this.tip.replaceChildren(...lines.filter(Boolean).map((line) => make("span", {}, line)));
    this.ring.setAttribute("cx", px);
    this.ring.setAttribute("cy", py);
    const left = px * this.zoom - this.tip.offsetWidth / 2;
    const above = py * this.zoom - this.tip.offsetHeight - 14;
    this.tip.style.left = `${Math.max(Math.min(left, box.clientWidth - this.tip.offsetWidth), 0)}px`;
    this.tip.style.top = `${above >= 0 ? above : py * this.zoom + 16}px`;
  }
}
