/* Tables that can be sorted: a button in each head, smallest first, again for largest first. What has no value stays last. */

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator("en", { numeric: true });
  heads.forEach((head, place) => {
    const button = make("button", { type: "button" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const field = (row) => row.cells[place];
      const order = (a, b) => {
        const [first, second] = [field(a), field(b)];
        const empty = (first.textContent === "") - (second.textContent === "");
        if (empty) return empty;
        const numbers = [first.dataset.value, second.dataset.value];
        const by = numbers.every((n) => n !== undefined) ? numbers[0] - numbers[1] : collator.compare(first.textContent, second.textContent);
        return down ? -by : by;
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}
