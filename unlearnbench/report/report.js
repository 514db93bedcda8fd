// Sort and filter the tables of report.html. Nothing is loaded; without JavaScript the page reads as it is.
"use strict";
(() => {
  const NUMBER = /^[<>~]?\s*([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:e[+-]?\d+)?)(?=$|[\s%*(±×])/i;
  const MISSING = new Set(["", "-", "–", "n/a", "nan"]);
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const STEPS = { none: "ascending", ascending: "descending", descending: "none" };
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const text = (cell) => (cell ? cell.textContent.trim() : "");

  // The rows that others are compared with are never hidden, and stay on top.
  function isReference(row) {
    return row.matches(".retrained, .original") || /^(retrained|original)$|^null, /.test(text(row.cells[0]));
  }

  function number(words) {
    const found = NUMBER.exec(words.replace(/\u2212/g, "-"));
    return found && /\d/.test(found[1]) ? Number(found[1].replace(/,/g, "")) : NaN;
  }

  // A cell as what it is sorted by: a number in a column of numbers, else its words; null where there is nothing.
  function keys(rows, column) {
    const words = rows.map((row) => text(row.cells[column]));
    const numbers = words.map(number);
    const missing = words.map((one) => MISSING.has(one.toLowerCase()));
    const numeric = words.some((_, at) => !missing[at]) && numbers.every((one, at) => missing[at] || !isNaN(one));
    return words.map((one, at) => (missing[at] ? null : numeric ? numbers[at] : one));
  }

  function compare(one, other) {
    return typeof one === "number" ? one - other : collator.compare(one, other);
  }

  // Missing values are at the end, in both directions.
  function sorted(rows, column, direction) {
    const pinned = rows.filter(isReference);
    const others = rows.filter((row) => !isReference(row));
    if (direction === "none") return [...pinned, ...others];
    const key = new Map(keys(others, column).map((one, at) => [others[at], one]));
    const sign = direction === "ascending" ? 1 : -1;
    others.sort((a, b) => {
      const [one, other] = [key.get(a), key.get(b)];
      if (one === null || other === null) return (one === null) - (other === null);
      return sign * compare(one, other);
    });
    return [...pinned, ...others];
  }

  // Whether a table has a line of titles, also where no thead is written around it.
  function titled(table) {
    const first = table.rows[0];
    if (!table.tHead && first && [...first.cells].every((cell) => cell.tagName === "TH")) table.createTHead().append(first);
    return Boolean(table.tHead && table.tBodies.length);
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const direction = STEPS[head.getAttribute("aria-sort")];
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", direction);
        body.append(...sorted(original, column, direction));
      });
    });
  }

  // Boards go by what they are about; rows of methods by name and family, and rows of runs by their own columns.
  function filters(form, tables) {
    const families = new Map(all("tr[data-family]").map((row) => [text(row.cells[0]), row.dataset.family]));
    const rows = tables
      .filter((table) => text(table.tHead.rows[0].cells[0]) === "method")
      .flatMap((table) => {
        const titles = [...table.tHead.rows[0].cells].map(text);
        const board = table.closest(".board");
        return [...table.tBodies[0].rows]
          .filter((row) => !isReference(row))
          .map((row) => ({ row, titles, board, name: text(row.cells[0]) }));
      });
    // Commas part what is looked for; of each part, all words must be there.
    const matches = (one, parts, chosen) => {
      const family = families.get(one.name) || "";
      const told = `${one.name} ${family}`.toLowerCase();
      if (parts.length && !parts.some((words) => words.every((word) => told.includes(word)))) return false;
      if (chosen.family && family !== chosen.family) return false;
      return one.board || Object.entries(chosen).every(([name, value]) => {
        const column = one.titles.indexOf(name === "dataset" ? "data set" : name);
        return !value || column < 0 || text(one.row.cells[column]) === value;
      });
    };
    function apply() {
      const parts = form.elements.find.value.toLowerCase().split(",").map((part) => part.split(/\s+/).filter(Boolean))
        .filter((words) => words.length);
      const chosen = Object.fromEntries(all("select", form).map((one) => [one.name, one.value]));
      const boards = all(".board");
      boards.forEach((board) => {
        board.hidden = ["forget", "model", "dataset"].some((name) => chosen[name] && board.dataset[name] !== chosen[name]);
      });
      const shown = new Set();
      rows.forEach((one) => {
        const hit = matches(one, parts, chosen);
        one.row.hidden = !hit;
        if (hit && !(one.board && one.board.hidden)) shown.add(one.name);
      });
      all("details[data-method]").forEach((one) => {
        const row = { name: one.dataset.method, board: true, titles: [] };
        one.hidden = !matches(row, parts, chosen);
      });
      const total = new Set(rows.map((one) => one.name)).size;
      const open = boards.filter((board) => !board.hidden).length;
      form.elements.count.value =
        `${shown.size} of ${total} methods` + (boards.length > 1 ? `, ${open} of ${boards.length} boards` : "");
    }
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    apply();
  }

  const tables = all("table").filter(titled);
  tables.forEach(sortable);
  const form = document.querySelector(".controls");
  if (form) filters(form, tables);
})();
