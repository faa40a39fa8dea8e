
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // Colours follow the system until the user chooses. If storage is blocked, a choice lasts as long as the page is open.
  const THEMES = ["system", "light", "dark"];
  const stored = () => { try { return localStorage.getItem("bench-colours"); } catch { return null; } };
  const store = (name) => { try { localStorage.setItem("bench-colours", name); } catch { /* not remembered */ } };
  let theme = stored();
  const paint = () => {
    if (!THEMES.includes(theme)) theme = "system";
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
  };
  paint();

  // A cell begins with its number, or has none. A bound ("< 2.00") ranks below all measured values.
  const NUMBER = /^([<>]?)\s*([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)/i;
  function keyOf(cell, textual) {
    const text = (cell.dataset.sort ?? cell.textContent).trim();
    if (textual) return text && text !== "-" ? [0, text.toLowerCase()] : null;
    const found = NUMBER.exec(text);
    return found ? [found[1] === "<" ? 0 : 1, Number(found[2].replaceAll(",", ""))] : null;
  }

  function compare(one, other) {
    if (one[0] !== other[0]) return one[0] - other[0];
    return one[1] < other[1] ? -1 : one[1] > other[1] ? 1 : 0;
  }

  function sortBy(header) {
    const descending = header.getAttribute("aria-sort") === "ascending";
    const textual = header.classList.contains("text");
    const table = header.closest("table");
    const keyed = [...table.tBodies].map((body) => [keyOf(body.rows[0].cells[header.cellIndex], textual), body]);
    const there = keyed.filter(([key]) => key !== null);
    const empty = keyed.filter(([key]) => key === null); // last, in both directions
    there.sort(([one], [other]) => (descending ? compare(other, one) : compare(one, other)));
    table.append(...[...there, ...empty].map(([, body]) => body));
    for (const each of header.parentElement.cells) each.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  // A row's details are not parsed until opened, so a thousand rows stay fast.
  function open(button, wanted) {
    const details = document.getElementById(button.getAttribute("aria-controls"));
    const text = wanted && details.querySelector("noscript");
    if (text) {
      const template = document.createElement("template");
      template.innerHTML = text.textContent;
      text.replaceWith(template.content);
    }
    details.classList.toggle("shown", wanted);
    button.setAttribute("aria-expanded", String(wanted));
  }

  // Only areas that scroll are keyboard stops.
  function reach() {
    for (const each of document.querySelectorAll(".scroll, pre")) {
      const scrolls = each.scrollWidth > each.clientWidth || each.scrollHeight > each.clientHeight;
      if (scrolls) each.tabIndex = 0;
      else each.removeAttribute("tabindex");
    }
  }

  function start() {
    const form = document.querySelector(".tools");
    const fields = form.elements;
    const said = form.querySelector("output");
    const sections = [...document.querySelectorAll(".scenario")].map((section) => ({
      section,
      boards: [...section.querySelectorAll(".board")].map((board) => ({
        board,
        entries: [...board.querySelectorAll(".leaderboard > .entry")].map((entry) => ({
          entry,
          button: entry.querySelector("button.open"),
          words: entry.rows[0].textContent.toLowerCase(),
        })),
      })),
    }));
    const pooled = document.querySelector(".pooled");
    const others = [...document.querySelectorAll("table:not(.leaderboard) > .entry")].map((entry) => [entry, entry.textContent.toLowerCase()]);
    let visible = [];

    function filter() {
      const wanted = fields.text.value.trim().toLowerCase();
      const scenario = fields.scenario.value;
      const device = fields.device.value;
      let all = 0;
      visible = [];
      for (const { section, boards } of sections) {
        const chosen = !scenario || section.dataset.scenario === scenario;
        let left = 0;
        for (const { board, entries } of boards) {
          const fitting = entries.filter(({ entry, words }) =>
            chosen && words.includes(wanted) && (!device || entry.dataset.device === device));
          for (const { entry } of entries) entry.hidden = true;
          for (const { entry } of fitting) entry.hidden = false;
          board.hidden = entries.length > 0 && fitting.length === 0;
          all += entries.length;
          left += fitting.length;
          visible.push(...fitting.map(({ button }) => button));
        }
        section.hidden = left === 0; // also hides a chain's whole life, which has no such rows
      }
      for (const [entry, words] of others) entry.hidden = !words.includes(wanted);
      if (pooled) pooled.hidden = Boolean(scenario);
      said.textContent = visible.length === all ? `${all} rows` : `${visible.length} of ${all} rows`;
      tellOpen();
      reach();
    }

    const allOpen = () => visible.length > 0 && visible.every((each) => each.getAttribute("aria-expanded") === "true");
    function tellOpen() {
      fields.open.textContent = allOpen() ? "Close rows" : "Open rows";
    }
    function tellTheme() {
      fields.theme.textContent = `Colours: ${theme}`;
    }

    for (const kind of ["input", "change"]) form.addEventListener(kind, filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(filter)); // the fields are emptied after this event
    fields.theme.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      store(theme);
      paint();
      tellTheme();
    });
    fields.open.addEventListener("click", () => {
      const wanted = !allOpen();
      for (const button of visible) open(button, wanted);
      tellOpen();
      reach();
    });
    // A link to a row opens it, whatever was filtered.
    function follow() {
      const row = document.getElementById(location.hash.slice(1));
      const button = row?.querySelector("button.open");
      if (!button) return;
      if (row.hidden) {
        form.reset();
        filter();
      }
      open(button, true);
      tellOpen();
      row.scrollIntoView();
    }
    addEventListener("hashchange", follow);
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button?.classList.contains("sort")) sortBy(button.closest("th"));
      if (button?.classList.contains("open")) {
        open(button, button.getAttribute("aria-expanded") !== "true");
        tellOpen();
        reach();
      }
    });
    addEventListener("resize", reach);
    form.hidden = false;
    tellTheme();
    filter();
    follow();
  }
  document.addEventListener("DOMContentLoaded", start);
})();
