"use strict";
// Theme, and what several pages need. Texts of pruners reach the page through textContent alone.

const Harness = {
  listeners: [],

  element(tag, text, attributes) {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    return made;
  },

  perplexity(value) {
    if (value === null || value === undefined) return "";
    if (value >= 1e7) return value.toExponential(1);
    return value < 1000 ? value.toFixed(2) : Math.round(value).toLocaleString("en-US");
  },

  ratio(value) {
    if (value === null || value === undefined) return "";
    if (value >= 1000) return value < 1e7 ? Math.round(value).toLocaleString("en-US") : value.toExponential(2);
    return value < 0.01 ? value.toExponential(2) : value.toFixed(3);
  },

  fixed(value, digits) {
    return value === null || value === undefined ? "" : value.toFixed(digits);
  },

  link(pruner, root) {
    if (!pruner.page) return Harness.element("span", pruner.name);
    return Harness.element("a", pruner.name, { href: root + pruner.page });
  },

  options(select, choices, chosen) {
    select.replaceChildren(...choices.map(([value, text]) => Harness.element("option", text, { value })));
    if (choices.some(([value]) => String(value) === String(chosen))) select.value = chosen;
  },

  records() {
    const study = window.STUDY;
    return study.rows.map((row) => {
      const record = {};
      study.columns.forEach((name, place) => { record[name] = row[place]; });
      record.group = study.groups[record.group];
      record.pruner = study.pruners[record.pruner];
      return record;
    });
  },

  dark() {
    return document.documentElement.dataset.theme === "dark";
  },

  setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.setAttribute("aria-pressed", String(theme === "dark"));
    Harness.listeners.forEach((listener) => listener());
  },
};

(() => {
  let kept = null;
  try { kept = localStorage.getItem("theme"); } catch { /* a page from disk may have no storage */ }
  const preferred = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  Harness.setTheme(kept || preferred);
  document.addEventListener("DOMContentLoaded", () => {
    Harness.setTheme(document.documentElement.dataset.theme);
    for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("theme").addEventListener("click", () => {
      const theme = Harness.dark() ? "light" : "dark";
      try { localStorage.setItem("theme", theme); } catch { /* as above */ }
      Harness.setTheme(theme);
    });
  });
  if (location.protocol.startsWith("http")) {
    // served while a study runs: shown again when there are new results
    let version = null;
    const ask = async () => {
      try {
        const text = await (await fetch("/version")).text();
        if (version !== null && version !== text) location.reload();
        version = text;
      } catch { /* the server has ended: what is shown stays */ }
    };
    ask(); // before the data are read: what changes later is seen
    setInterval(ask, 3000);
  }
})();
