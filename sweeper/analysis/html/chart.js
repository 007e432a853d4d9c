/* Lines over x, drawn anew at whatever width there is and whatever is switched on. */

const DASHES = ["", "7 4", "2 3", "8 3 2 3", "4 2", "1 2", "10 4 2 4 2 4"];
const MARKERS = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  (r) => `M${-r},${-r}H${r}V${r}H${-r}Z`,
  (r) => `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0Z`,
  (r) => `M0,${-1.2 * r}L${1.2 * r},${r}H${-1.2 * r}Z`,
  (r) => `M0,${1.2 * r}L${1.2 * r},${-r}H${-1.2 * r}Z`,
  (r) => `M${-r / 2.6},${-r}H${r / 2.6}V${-r / 2.6}H${r}V${r / 2.6}H${r / 2.6}V${r}H${-r / 2.6}V${r / 2.6}H${-r}V${-r / 2.6}H${-r / 2.6}Z`,
];

/** The class that gives a style its colour; see page.css. */
function ink(style) {
  if (style.end) return "ink-end";
  if (style.shade !== undefined) return `shade-${style.shade}`;
  return style.colour === undefined ? "ink-end" : `ink-${style.colour}`;
}

function marker(style, x, y, radius) {
  const shape = MARKERS[style.marker || 0](radius);
  return draw("path", { d: shape, transform: `translate(${x},${y})`, class: style.empty ? "marker empty" : "marker" });
}

/** A short piece of the line, for legends and switches. */
function sample(style) {
  const piece = draw("svg", { class: `sample ${ink(style)}`, width: 28, height: 12, "aria-hidden": "true" });
  piece.append(draw("path", { d: "M1,6H27", class: "line", "stroke-dasharray": DASHES[style.dash || 0] }));
  if (style.marker !== undefined) piece.append(marker(style, 14, 6, 3.4));
  return piece;
}

class Chart {
  constructor(figure, spec) {
    this.spec = spec;
    this.number = document.querySelectorAll(".plot").length;
    this.controls = new Controls(spec.controls, [...spec.series, ...spec.marks], () => this.refresh());
    this.switch = make("input", { type: "checkbox", "data-key": "log" });
    this.switch.addEventListener("change", () => this.refresh());
    this.scaleField = make("fieldset", {}, make("legend", {}, "Vertical axis"), make("label", {}, this.switch, "logarithmic"));
    this.controls.element.append(this.scaleField);
    this.svg = draw("svg", { tabindex: 0, role: "application", "aria-roledescription": "chart", "aria-label": spec.description });
    this.box = make("div", { class: "plot" }, this.svg);
    this.said = make("p", { class: "said", role: "status" });
    this.legend = make("ul", { class: "legend" });
    this.printed = make("ul", { class: "legend printed" });
    figure.querySelector("h3").after(this.controls.element, this.box, this.said, this.legend, this.printed);
    this.reading = new Reading(this);
    new ResizeObserver(() => this.box.clientWidth !== this.width && this.refresh()).observe(this.box);
    this.refresh();
  }

  /** Draw all anew, `width` pixels wide [as wide as there is room]. */
  refresh(width = this.box.clientWidth) {
    const { spec } = this;
    const choice = this.controls.chosen("quantity") || spec.y;
    this.width = width;
    this.unit = choice.y || spec.y.label;
    this.scaleField.hidden = !choice.log;
    this.logarithmic = Boolean(choice.log) && this.switch.checked;
    this.shown = spec.series.filter((series) => this.controls.shown(series.keys));
    const height = Math.round(Math.min(460, Math.max(280, width * 0.55)));
    const box = { right: width - 14, top: 12, bottom: height - 44 };
    const lost = this.yScale(box, choice.late);
    const up = this.upTicks(box);
    box.left = 34 + 7.2 * Math.max(...up.map(([, text]) => text.length)); // a digit is 7 pixels wide
    this.x = this.xScale(box);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...this.frame(box, up), this.inside(box));
    const entries = spec.legend.filter((entry) => this.controls.shown(entry.keys));
    this.legend.replaceChildren(...entries.map((entry) => make("li", {}, sample(entry.style), entry.text)));
    this.printed.replaceChildren(...this.controls.summary());
    this.said.textContent = [
      this.shown.length ? "" : "Nothing is switched on.",
      lost ? `${lost} value${lost > 1 ? "s" : ""} at or below 0 not on the logarithmic scale.` : "",
    ].join(" ").trim();
    this.reading.begin();
  }

  xScale({ left, right }) {
    const { at, limits } = this.spec.x;
    if (limits) return scale(...limits, left, right);
    const [low, high] = [Math.min(...at), Math.max(...at)];
    const pad = 0.02 * (high - low);
    return scale(low - pad, high + pad, left, right);
  }

  /** Set the scale of y; how many values a logarithm cannot show. `late`: the first tenth of x may leave the chart. */
  yScale({ top, bottom }, late) {
    const { x, y } = this.spec;
    const from = late ? 0.1 * Math.max(...x.at) : -Infinity;
    const all = this.shown.flatMap(({ points, spans = [] }) => [
      ...points.filter(([i]) => x.at[i] >= from).map(([, value]) => value),
      ...spans.flat(),
    ]);
    const values = this.logarithmic ? all.filter((value) => value > 0) : all;
    this.limits = y.limits || (this.logarithmic ? logLimits(values) : plainLimits(values));
    this.y = scale(...this.limits, bottom, top, this.logarithmic);
    return all.length - values.length;
  }

  upTicks({ top, bottom }) {
    const numbers = () => (this.logarithmic ? logNumbers(...this.limits) : roundNumbers(...this.limits, (bottom - top) / 48));
    return spaced(this.spec.y.ticks || labelled(numbers()), this.y, 15);
  }

  /** Axes, ticks, grid and breaks. */
  frame({ left, right, top, bottom }, up) {
    const { x } = this.spec;
    const numbers = () => roundNumbers(Math.min(...x.at), Math.max(...x.at), (right - left) / 90);
    const across = spaced(x.ticks || labelled(numbers()), this.x, 34);
    const drawn = [];
    for (const [value, text] of up) {
      const place = this.y(value);
      drawn.push(draw("path", { d: `M${left},${place}H${right}`, class: "grid" }));
      drawn.push(draw("text", { x: left - 7, y: place + 4, "text-anchor": "end" }, text));
    }
    for (const [value, text] of across) {
      const place = this.x(value);
      drawn.push(draw("path", { d: `M${place},${bottom}v5`, class: "axis" }));
      drawn.push(draw("text", { x: place, y: bottom + 18, "text-anchor": "middle" }, text));
    }
    drawn.push(draw("path", { d: `M${left},${top}V${bottom}H${right}`, class: "axis" }));
    for (const value of x.breaks || []) {
      const place = this.x(value);
      drawn.push(draw("path", { d: `M${place - 4},${bottom}h8`, class: "gap" }));
      for (const shift of [-3, 3]) drawn.push(draw("path", { d: `M${place + shift - 2},${bottom + 5}l4,-10`, class: "axis" }));
    }
    const named = { "text-anchor": "middle", class: "label" };
    const upward = `translate(12,${(top + bottom) / 2}) rotate(-90)`;
    drawn.push(draw("text", { ...named, x: (left + right) / 2, y: bottom + 38 }, x.label));
    drawn.push(draw("text", { ...named, transform: upward }, this.unit));
    return drawn;
  }

  /** Marks, lines and points, cut at the frame. */
  inside({ left, right, top, bottom }) {
    const id = `clip-${this.number}`;
    const window = draw("rect", { x: left, y: top - 6, width: right - left + 8, height: bottom - top + 12 });
    const group = draw("g", { "clip-path": `url(#${id})` }, draw("clipPath", { id }, window));
    for (const mark of this.spec.marks.filter((each) => this.controls.shown(each.keys))) {
      group.append(this.mark(mark, top, bottom));
    }
    // The points of the seeds stand on the lines of the means, which have none of their own then.
    const means = this.shown.filter((series) => !series.style.faint);
    const seeds = this.shown.filter((series) => series.style.faint);
    group.append(...means.map((series) => this.series(series, !seeds.length)));
    group.append(...seeds.map((series) => this.series(series, true)));
    return group;
  }

  mark(mark, top, bottom) {
    const group = draw("g", { class: `mark ${ink(mark.style)}` });
    for (const name of ["light", "dark"].filter((each) => mark[each].length)) {
      const [from, to] = mark[name].map(this.x);
      group.append(draw("rect", { x: from, y: top, width: to - from, height: bottom - top, class: name }));
    }
    for (const [places, dashes] of [[mark.line, "5 3"], [mark.dotted, "1.5 3"]]) {
      const paths = places.map((place) => `M${this.x(place)},${top}V${bottom}`);
      group.append(...paths.map((d) => draw("path", { d, class: "line thin", "stroke-dasharray": dashes })));
    }
    return group;
  }

  /** One line with its points; what has no place, and a break of the axis, interrupt it. */
  series(series, marked) {
    const { style, spans = [] } = series;
    const { at, breaks = [] } = this.spec.x;
    const group = draw("g", { class: `series ${ink(style)}${style.faint ? " faint" : ""}` });
    group.dataset.text = this.controls.words(series.keys);
    const places = this.places(series);
    const alone = new Set(places);
    let path = "";
    places.forEach((here, i) => {
      const before = places[i - 1];
      const broken = before && breaks.some((gap) => gap > at[before.i] && gap < at[here.i]);
      const joined = before && before.number === here.number - 1 && !broken;
      if (joined) [before, here].forEach((each) => alone.delete(each));
      path += `${joined ? "L" : "M"}${here.px.toFixed(1)},${here.py.toFixed(1)}`;
    });
    if (path) group.append(draw("path", { d: path, class: "line", "stroke-dasharray": DASHES[style.dash || 0] }));
    for (const { px, py, number } of places) {
      if (spans[number]) group.append(draw("path", { d: `M${px},${spans[number].map(this.y).join("V")}`, class: "line thin" }));
      if (marked && style.marker !== undefined) group.append(marker(style, px, py, style.faint ? 2.6 : 3.2));
    }
    if (!style.faint) group.append(...[...alone].map(({ px, py }) => draw("path", { d: `M${px - 7},${py}h14`, class: "line" })));
    return group;
  }

  /** The points of a series that have a place: where it is, which value of x, and their number in the series. */
  places(series) {
    return series.points
      .map(([i, value], number) => ({ series, number, i, value, px: this.x(this.spec.x.at[i]) }))
      .filter(({ value }) => !this.logarithmic || value > 0)
      .map((point) => ({ ...point, py: this.y(point.value) }));
  }
}
