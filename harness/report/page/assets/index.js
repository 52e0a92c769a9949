"use strict";
// The leaderboard: filtered, sorted, and its curves.

(() => {
  const MOST_CURVES = 20;
  const study = window.STUDY, all = Harness.records();
  const part = (id) => document.getElementById(id);
  const COLUMNS = [
    ["rank", "#", (r) => r.rank, (r) => (r.rank === null ? "" : String(r.rank)), "number"],
    ["pruner", "pruner", (r) => r.pruner.name, null, ""],
    ["author", "by", (r) => r.pruner.author, null, ""],
    ["target", "target", (r) => r.group.target, (r) => r.group.target, ""],
    ["sparsity", "sparsity", (r) => r.group.ratio ?? r.group.sparsity, (r) => r.group.sparsity, "number"],
    ["status", "status", (r) => r.status, (r) => r.status, ""],
    ["perplexity", "perplexity", (r) => r.perplexity, (r) => Harness.perplexity(r.perplexity), "number"],
    ["interval", "95% interval", (r) => r.perplexity_low, (r) => (r.perplexity_low === null ? "" :
      `${Harness.perplexity(r.perplexity_low)} to ${Harness.perplexity(r.perplexity_high)}`), "number"],
    ["ratio", "× dense", (r) => r.ratio_to_dense, (r) => Harness.perplexity(r.ratio_to_dense), "number"],
    ["achieved", "zeros", (r) => r.achieved_sparsity, (r) => Harness.fixed(r.achieved_sparsity, 4), "number"],
    ["seconds", "seconds", (r) => r.sandbox_seconds, (r) => Harness.fixed(r.sandbox_seconds, 1), "number"],
    ["memory", "MiB", (r) => r.peak_memory_bytes,
      (r) => (r.peak_memory_bytes === null ? "" : Math.round(r.peak_memory_bytes / 1048576).toLocaleString("en-US")), "number"],
    ["isolation", "isolation", (r) => r.isolation, (r) => r.isolation, ""],
    ["notes", "notes", (r) => r.notes, (r) => [r.notes, r.error].filter(Boolean).join("; "), "notes"],
  ];
  const targets = [...new Set(study.groups.map((group) => group.target))];
  const sparsities = [...new Set(study.groups.map((group) => group.sparsity))];
  const start = { target: targets[0] || "", sparsity: sparsities[0] || "", author: "", outcome: "", isolation: "", search: "" };
  const state = { ...start, ...Object.fromEntries(new URLSearchParams(location.hash.startsWith("#?") ? location.hash.slice(2) : "")) };
  let order = ["rank", 1];

  Harness.options(part("target"), [["", "all"], ...targets.map((name) => [name, name])], state.target);
  Harness.options(part("sparsity"), [["", "all"], ...sparsities.map((name) => [name, name])], state.sparsity);

  const levels = [...new Set(all.map((r) => r.isolation).filter(Boolean))].sort();
  Harness.options(part("isolation"), [["", "all"], ...levels.map((name) => [name, name])], state.isolation);

  const head = document.querySelector("#board thead tr");
  for (const [key, heading, , , kind] of COLUMNS) {
    const cell = Harness.element("th", null, { scope: "col", ...(kind === "number" ? { class: "number" } : {}) });
    const button = Harness.element("button", heading, { type: "button" });
    button.addEventListener("click", () => {
      order = [key, order[0] === key ? -order[1] : 1];
      show();
    });
    cell.dataset.key = key;
    cell.append(button);
    head.append(cell);
  }

  function compared(a, b) {
    if (a === b) return 0;
    if (a === null || a === undefined || a === "") return Infinity; // what is not measured stays last
    if (b === null || b === undefined || b === "") return -Infinity;
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sorted(records) {
    const value = COLUMNS.find(([key]) => key === order[0])[2];
    return [...records].sort((one, other) => {
      const difference = compared(value(one), value(other));
      return Number.isFinite(difference) ? difference * order[1] : difference;
    });
  }

  function fits(record) {
    const words = [record.pruner.name, record.status, record.notes, record.error, record.pruner.author].join(" ").toLowerCase();
    return (!state.author || record.pruner.author === state.author) &&
      (!state.outcome || record.outcome === state.outcome) &&
      (!state.isolation || record.isolation === state.isolation) &&
      state.search.toLowerCase().split(/\s+/).every((word) => words.includes(word));
  }

  function row(record) {
    const made = Harness.element("tr", null, record.rank === null ? { class: "unranked" } : {});
    for (const [key, , , text, kind] of COLUMNS) {
      const cell = Harness.element(key === "pruner" ? "th" : "td", text ? text(record) : null, kind ? { class: kind } : {});
      if (key === "pruner") {
        cell.setAttribute("scope", "row");
        cell.append(Harness.link(record.pruner, ""));
      } else if (key === "author") {
        cell.append(Harness.element("span", record.pruner.author, { class: `tag ${record.pruner.author}` }));
      }
      made.append(cell);
    }
    return made;
  }

  function show() {
    for (const cell of head.children) {
      if (cell.dataset.key === order[0]) cell.setAttribute("aria-sort", order[1] > 0 ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    }
    const fitting = all.filter(fits);
    const shown = sorted(fitting.filter((r) => (!state.target || r.group.target === state.target) &&
      (!state.sparsity || r.group.sparsity === state.sparsity)));
    document.querySelector("#board tbody").replaceChildren(...shown.map(row));
    const dense = [...new Set(shown.map((r) => r.group.dense))];
    const against = dense.length === 1 && dense[0] !== null ? `; dense perplexity ${Harness.perplexity(dense[0])}` : "";
    part("count").textContent = `${shown.length} of ${all.length} results${against}`;
    const changed = Object.entries(state).filter(([key, value]) => value !== start[key]);
    history.replaceState(null, "", changed.length ? `#?${new URLSearchParams(changed)}` : location.pathname.split("/").pop() + (location.hash.startsWith("#?") ? "" : location.hash));
    curves(fitting);
  }

  function curves(fitting) {
    const target = state.target || targets[0];
    const here = fitting.filter((r) => r.group.target === target && r.group.ratio !== null && r.perplexity !== null);
    const level = Math.max(...here.map((r) => r.group.ratio));
    const best = here.filter((r) => r.group.ratio === level).sort((a, b) => a.perplexity - b.perplexity).map((r) => r.pruner);
    const names = new Set([...best, ...here.map((r) => r.pruner)].slice(0, 400).map((p) => p.name));
    const few = [...names].slice(0, MOST_CURVES);
    part("curves-note").textContent = names.size
      ? `${target}: ${few.length} of ${names.size} pruners that fit the filter, those best at ${level} first. Press a name in the legend to see one alone.`
      : "";
    const dense = study.groups.find((group) => group.target === target);
    Harness.curves(part("curves-chart"), here.filter((r) => few.includes(r.pruner.name)), dense ? dense.dense : null);
  }

  for (const key of ["target", "sparsity", "author", "outcome", "isolation", "search"]) {
    part(key).value = state[key];
    part(key).addEventListener("input", () => { state[key] = part(key).value; show(); });
  }
  part("reset").addEventListener("click", () => {
    Object.assign(state, start);
    for (const key of Object.keys(start)) part(key).value = state[key];
    order = ["rank", 1];
    show();
  });
  Harness.listeners.push(show);
  show();
})();
