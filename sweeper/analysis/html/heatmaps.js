/* Shares in [0, 1] as tables whose fields are coloured: cividis, even in lightness, so that it reads the same in grey. */

const CIVIDIS = ["00224e", "1a386f", "434e6c", "61656f", "7d7c78", "9b9476", "bcae6c", "dec958", "fee838"]
  .map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));

function heat(share) {
  const place = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const below = Math.min(Math.floor(place), CIVIDIS.length - 2);
  const mixed = CIVIDIS[below].map((from, i) => Math.round(from + (CIVIDIS[below + 1][i] - from) * (place - below)));
  return `rgb(${mixed.join(",")})`;
}

class Heatmaps {
  constructor(figure, spec) {
    this.spec = spec;
    this.controls = new Controls(spec.controls, spec.panels, () => this.refresh());
    this.box = make("div", { class: "panels" });
    const bar = make("div", { class: "bar", role: "img", "aria-label": `colours: ${spec.scale}, from 0 (dark) to 1 (light)` });
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const step = make("span", {}, String(share));
      this.paint(step, share);
      bar.append(step);
    }
    this.printed = make("ul", { class: "legend printed" });
    figure.querySelector("h3").after(this.controls.element, this.printed, this.box, make("div", { class: "scale" }, bar, make("span", {}, spec.scale)));
    this.refresh();
  }

  paint(element, share) {
    element.style.backgroundColor = heat(share);
    element.style.color = share < 0.55 ? "#fff" : "#000";
  }

  refresh() {
    const shown = this.spec.panels.filter((panel) => this.controls.shown(panel.keys));
    this.printed.replaceChildren(...this.controls.summary());
    this.box.replaceChildren(...shown.map((panel) => this.panel(panel)));
    if (!shown.length) this.box.append(make("p", {}, "No cell has these settings."));
  }

  panel(panel) {
    const head = make("tr", {}, make("th", { scope: "col", class: "corner" }, `${panel.down} ↓ ${panel.across} →`));
    for (const text of panel.columns) head.append(make("th", { scope: "col" }, text));
    const body = make("tbody", {});
    panel.rows.forEach((name, i) => {
      const row = make("tr", {}, make("th", { scope: "row" }, name));
      panel.texts[i].forEach((text, j) => {
        const field = make("td", {}, text === null ? "" : text);
        if (text !== null) this.paint(field, panel.shares[i][j]);
        row.append(field);
      });
      body.append(row);
    });
    const table = make("table", { class: "heat" }, make("caption", {}, panel.title), make("thead", {}, head), body);
    return make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": panel.title }, table);
  }
}
