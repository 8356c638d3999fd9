"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Sorting: numbers by number, names by name, what is missing always last.
  const compare = (a, b, down) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const x = Number(a), y = Number(b);
    const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
    return down ? -order : order;
  };
  const sort = (button) => {
    const head = button.closest("th"), table = head.closest("table");
    const column = [...head.parentNode.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    all("th[aria-sort]", table).forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.children[column].dataset.key || "";
    // Groups of rows stay apart, each below its own line.
    [...table.tBodies].forEach((group) => {
      const rows = [...group.rows].filter((row) => !row.classList.contains("line"));
      rows.sort((a, b) => compare(key(a), key(b), down));
      group.append(...rows);
    });
  };
  all(".sort").forEach((button) => button.addEventListener("click", () => sort(button)));

  // Filtering: rows by name and kind, sections by block, columns by aspect.
  const columns = (table, aspect) => all("thead th", table).forEach((head, i) => {
    const other = aspect === "headline" ? head.dataset.headline === undefined
      : aspect !== "" && head.dataset.group !== aspect;
    const off = i > 0 && head.dataset.group !== "" && other;
    [...table.rows].forEach((row) => { if (i > 0 && row.children[i]) row.children[i].hidden = off; });
  });
  const filter = () => {
    const query = $("search").value.trim().toLowerCase(), apart = $("apart").checked;
    const visible = new Set();
    all("tbody tr[data-row]").forEach((row) => {
      const name = row.firstElementChild.dataset.key.toLowerCase();
      row.hidden = !name.includes(query) || (!apart && row.parentNode.dataset.group !== "method");
      if (!row.hidden) visible.add(row.dataset.row);
    });
    all("tbody").forEach((group) => all(".line", group).forEach((line) => {
      line.hidden = all("tr[data-row]", group).every((row) => row.hidden);
    }));
    $("count").textContent = `${visible.size} shown`;
    const block = $("block").value;
    all("section.block").forEach((part) => { part.hidden = block !== "" && part.dataset.block !== block; });
    all("section.block table, #overview-table").forEach((table) => columns(table, $("aspect").value));
  };
  ["search", "apart", "block", "aspect"].forEach((id) => $(id).addEventListener("input", filter));
  $("filters").addEventListener("submit", (event) => event.preventDefault());

  // Pictures of a row, and two rows side by side.
  const pictures = all("#pictures figure");
  const title = (index) => $(`block${index}`).textContent;
  const text = (tag, content) => Object.assign(document.createElement(tag), { textContent: content });
  // Footnotes in words, where a value stands apart from its table.
  const inWords = (table, mark) => {
    const notes = table.closest(".scroll").nextElementSibling;
    const words = mark.textContent.split(",").map((i) => notes && notes.children[i - 1])
      .filter(Boolean).map((note) => note.textContent);
    return Object.assign(text("span", ` ${words.join("; ")}`), { className: "undefined" });
  };
  // Numbers of a row: headlines at once, the others folded away.
  const values = (row, block) => {
    const table = document.querySelector(`section.block[data-block="${block}"] table`);
    const line = table && table.querySelector(`tbody tr[data-row="${row}"]`);
    const lists = [document.createElement("dl"), document.createElement("dl")];
    if (!line) return [];
    all("thead th", table).slice(1).forEach((head, i) => {
      const list = lists[head.dataset.headline === undefined ? 1 : 0];
      list.append(text("dt", head.querySelector(".sort").textContent));
      const value = document.createElement("dd"), cell = line.children[i + 1];
      value.append(...[...cell.childNodes].map((node) => node.cloneNode(true)));
      all("sup:not([title])", value).forEach((mark) => mark.replaceWith(inWords(table, mark)));
      list.append(value);
    });
    const rest = document.createElement("details");
    rest.append(text("summary", "All metrics"), lists[1]);
    return lists[1].children.length ? [lists[0], rest] : [lists[0]];
  };
  const gallery = (row, block) => {
    const figures = pictures
      .filter((figure) => figure.dataset.row === row && figure.dataset.block === String(block))
      .map((figure) => figure.cloneNode(true));
    const list = Object.assign(document.createElement("div"), { className: "gallery" });
    list.append(...figures);
    return figures.length ? [list] : [];
  };
  const open = (button) => {
    const row = button.dataset.row;
    $("detail-head").textContent = button.closest("th").dataset.key.trim();
    const parts = [];
    all("section.block").forEach((section) => {
      const block = section.dataset.block, figures = gallery(row, block), lists = values(row, block);
      if (figures.length || lists.length) parts.push(text("h3", title(block)), ...lists, ...figures);
    });
    $("detail-body").replaceChildren(...(parts.length ? parts : [text("p", "No scores and no pictures.")]));
    $("detail").showModal();
  };
  all(".open").forEach((button) => button.addEventListener("click", () => open(button)));
  const pair = () => {
    const block = $("pair-block").value;
    const sides = ["left", "right"].map((id) => {
      const side = document.createElement("div"), choice = $(id);
      side.append(text("h3", choice.selectedOptions.length ? choice.selectedOptions[0].text : ""));
      side.append(...values(choice.value, block), ...gallery(choice.value, block));
      return side;
    });
    $("pair").replaceChildren(...sides);
  };
  ["left", "right", "pair-block"].forEach((id) => $(id).addEventListener("input", pair));

  // Escape puts a metric's card away without moving the focus.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") all(".card").forEach((card) => card.classList.add("dismissed"));
  });
  ["mouseover", "focusin"].forEach((name) => document.addEventListener(name, (event) => {
    const head = event.target.closest && event.target.closest("thead th");
    if (head) all(".card", head).forEach((card) => card.classList.remove("dismissed"));
  }));
  $("theme").addEventListener("click", () => {
    const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = root.dataset.theme || (dark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
  filter();
  pair();
})();
