/* Every block that is drawn, and paper, which has a width of its own. */

const PAPER = 660; // pixels of a page's width
const charts = [];
for (const figure of document.querySelectorAll("figure[data-block]")) {
  const spec = JSON.parse(document.getElementById(figure.dataset.block).textContent);
  if (spec.kind === "chart") charts.push(new Chart(figure, spec));
  else new Heatmaps(figure, spec);
}
window.addEventListener("beforeprint", () => charts.forEach((chart) => chart.refresh(PAPER)));
window.addEventListener("afterprint", () => charts.forEach((chart) => chart.refresh()));
