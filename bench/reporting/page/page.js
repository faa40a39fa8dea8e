
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // Colours: as the system has them until somebody chooses; storage may be forbidden, and then a choice lasts as long as the page.
  const THEMES = ["system", "light", "dark"];
  const stored = () => { try { return localStorage.getItem("bench-colours"); } catch { return null; } };
  const store = (name) => { try { localStorage.setItem("bench-colours", name); } catch { /* not remembered */ } };
  let theme = THEMES.includes(stored()) ? stored() : "system";
  const paint = () => {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
  };
  paint();

  // A cell begins with its number, or has none. A bound ("< 2.00") is below whatever was measured.
  const NUMBER = /^([<>]?)\s*(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)/i;
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
    const table = header.closest("table");
    const descending = header.getAttribute("aria-sort") === "ascending";
    const textual = header.classList.contains("text");
    const keyed = [...table.tBodies].map((body) => [keyOf(body.rows[0].cells[header.cellIndex], textual), body]);
    const there = keyed.filter(([key]) => key !== null);
    const empty = keyed.filter(([key]) => key === null); // last, in both directions
    there.sort(([one], [other]) => (descending ? compare(other, one) : compare(one, other)));
    table.append(...[...there, ...empty].map(([, body]) => body));
    for (const each of header.parentElement.cells) each.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  }

  // What stands behind a row is text until it is opened: thousands of rows stay quick.
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

  function start() {
    const form = document.querySelector(".tools");
    const { text, scenario, device } = form.elements;
    const said = form.querySelector("output");
    const entries = [...document.querySelectorAll(".leaderboard > .entry")];
    const words = new Map(entries.map((entry) => [entry, entry.rows[0].textContent.toLowerCase()]));

    function filter() {
      const wanted = text.value.trim().toLowerCase();
      let shown = 0;
      let all = 0;
      for (const section of document.querySelectorAll(".scenario")) {
        const chosen = !scenario.value || section.dataset.scenario === scenario.value;
        let any = false;
        for (const board of section.querySelectorAll(".board")) {
          const mine = [...board.querySelectorAll(".leaderboard > .entry")];
          let left = mine.length ? 0 : 1; // a chain's whole life has no such rows, and goes with its scenario
          for (const entry of mine) {
            const fits = words.get(entry).includes(wanted) && (!device.value || entry.dataset.device === device.value);
            entry.hidden = !fits;
            left += fits;
            shown += fits && chosen;
          }
          all += mine.length;
          board.hidden = !left;
          any ||= mine.length > 0 && left > 0;
        }
        section.hidden = !chosen || !any;
      }
      const pooled = document.querySelector(".pooled");
      if (pooled) pooled.hidden = Boolean(scenario.value);
      said.textContent = shown === all ? `${all} rows` : `${shown} of ${all} rows`;
      tellOpen();
    }

    const visible = () => entries.filter((entry) => !entry.hidden && !entry.closest("[hidden]")).map((entry) => entry.querySelector("button.open"));
    const allOpen = () => visible().every((button) => button.getAttribute("aria-expanded") === "true");
    const tellOpen = () => { form.elements.open.textContent = visible().length && allOpen() ? "Close rows" : "Open rows"; };
    const tellTheme = () => { form.elements.theme.textContent = `Colours: ${theme}`; };

    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(filter));
    form.elements.theme.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      store(theme);
      paint();
      tellTheme();
    });
    form.elements.open.addEventListener("click", () => {
      const wanted = !allOpen();
      for (const button of visible()) open(button, wanted);
      tellOpen();
    });
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button?.classList.contains("sort")) sortBy(button.closest("th"));
      if (button?.classList.contains("open")) {
        open(button, button.getAttribute("aria-expanded") !== "true");
        tellOpen();
      }
    });
    tellTheme();
    filter(); // a browser keeps what stood in the form when a page is loaded again
  }
  document.addEventListener("DOMContentLoaded", start);
})();
