"use strict";

/* What of a chart is shown: items have keys, controls have values that are on. */

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children (elements or texts). Texts are never parsed as markup. */
function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function draw(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

class Controls {
  /** specs: as in blocks.py; items: all that has keys; changed: called after every switch. */
  constructor(specs, items, changed) {
    this.specs = specs;
    this.items = items;
    this.changed = changed;
    this.on = {};
    this.labels = {};
    for (const spec of specs) {
      const chosen = spec.options.filter((option) => option.on).map((option) => option.value);
      this.on[spec.key] = new Set(spec.kind === "check" ? chosen : chosen.slice(0, 1));
    }
    this.element = make("div", { class: "controls" }, ...specs.map((spec) => this[spec.kind](spec)));
    this.offer();
  }

  /** Whether an item is to be seen. */
  shown(keys) {
    return this.specs.every(({ key }) => !(key in keys) || this.on[key].has(keys[key]));
  }

  /** What tells an item from others, in words. */
  words(keys) {
    return this.specs.filter(({ key }) => key in keys && key !== "quantity").map(({ key, options }) => {
      const option = options.find(({ value }) => value === keys[key]);
      return option.long || option.text;
    }).join(" · ");
  }

  /** The option that a selection stands on. */
  chosen(key) {
    const spec = this.specs.find((each) => each.key === key);
    return spec && spec.options.find((option) => this.on[key].has(option.value));
  }

  set(key, values) {
    this.on[key] = new Set(values);
    this.offer();
    this.changed();
  }

  /** What is switched on, for paper, where nothing can be switched. */
  summary() {
    return this.specs.flatMap((spec) => {
      const on = spec.options.filter((option) => this.on[spec.key].has(option.value) && !this.hidden(spec, option));
      const drawn = on.filter((option) => option.style);
      const said = on.filter((option) => !option.style).map((option) => option.text);
      return [
        ...(said.length ? [make("li", {}, `${spec.text}: ${said.join(", ")}`)] : []),
        ...drawn.map((option) => make("li", {}, sample(option.style), option.text)),
      ];
    });
  }

  hidden(spec, option) {
    return spec.kind === "check" && this.labels[spec.key].get(option.value).hidden;
  }

  /** Hide switches of what the selections leave nothing of. */
  offer() {
    const selects = this.specs.filter((spec) => spec.kind !== "check").map((spec) => spec.key);
    const possible = this.items.filter(({ keys }) => selects.every((key) => !(key in keys) || this.on[key].has(keys[key])));
    for (const spec of this.specs.filter((each) => each.kind === "check")) {
      let left = 0;
      for (const option of spec.options) {
        const there = possible.some(({ keys }) => keys[spec.key] === option.value);
        this.labels[spec.key].get(option.value).hidden = !there;
        left += there;
      }
      this.labels[spec.key].fieldset.hidden = left === 0;
    }
  }

  check(spec) {
    const labels = (this.labels[spec.key] = new Map());
    for (const option of spec.options) {
      const box = make("input", { type: "checkbox", "data-key": spec.key, "data-value": option.value });
      box.checked = this.on[spec.key].has(option.value);
      box.addEventListener("change", () => {
        const values = new Set(this.on[spec.key]);
        if (box.checked) values.add(option.value);
        else values.delete(option.value);
        this.set(spec.key, values);
      });
      labels.set(option.value, make("label", {}, box, ...(option.style ? [sample(option.style)] : []), option.text));
    }
    labels.fieldset = make("fieldset", {}, make("legend", {}, spec.text), ...labels.values());
    return labels.fieldset;
  }

  select(spec) {
    const list = make("select", { "data-key": spec.key });
    for (const option of spec.options) {
      list.append(make("option", { value: option.value, selected: this.on[spec.key].has(option.value) }, option.text));
    }
    list.addEventListener("change", () => this.set(spec.key, [list.value]));
    return make("label", { class: "choice" }, make("span", {}, spec.text), list);
  }

  slider(spec) {
    const last = spec.options.length - 1;
    const now = make("output", {});
    const range = make("input", { type: "range", min: 0, max: last, step: 1, value: 0, "data-key": spec.key });
    const say = () => {
      const option = spec.options[Number(range.value)];
      now.textContent = option.text;
      range.setAttribute("aria-valuetext", option.text);
      return option.value;
    };
    say();
    range.addEventListener("input", () => this.set(spec.key, [say()]));
    return make("label", { class: "choice" }, make("span", {}, spec.text, " = ", now), range);
  }
}
