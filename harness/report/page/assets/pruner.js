"use strict";
// One pruner: its results, its curve among the references, and its sparsity by layer.

(() => {
  const study = window.STUDY, records = Harness.records();
  const table = document.getElementById("own"), name = table.dataset.pruner;
  const own = records.filter((r) => r.pruner.name === name);
  const COLUMNS = [
    ["target", (r) => r.group.target], ["sparsity", (r) => r.group.sparsity], ["rank", (r) => (r.rank === null ? "" : r.rank)],
    ["status", (r) => r.status], ["perplexity", (r) => Harness.perplexity(r.perplexity)],
    ["95% interval", (r) => (r.perplexity_low === null ? "" : `${Harness.perplexity(r.perplexity_low)} to ${Harness.perplexity(r.perplexity_high)}`)],
    ["× dense", (r) => Harness.perplexity(r.ratio_to_dense)], ["zeros", (r) => Harness.fixed(r.achieved_sparsity, 4)],
    ["KL", (r) => Harness.fixed(r.kl_divergence, 4)], ["seconds", (r) => Harness.fixed(r.sandbox_seconds, 1)], ["notes", (r) => r.notes],
  ];
  table.querySelector("thead tr").append(...COLUMNS.map(([heading]) => Harness.element("th", heading, { scope: "col" })));
  table.querySelector("tbody").append(...own.map((record) => {
    const row = Harness.element("tr");
    row.append(...COLUMNS.map(([, text], place) => Harness.element(place ? "td" : "th", text(record), place ? {} : { scope: "row" })));
    return row;
  }));
  const target = own.length ? own[0].group.target : null;
  const dense = own.length ? own[0].group.dense : null;
  const references = ["magnitude", "wanda", "sparsegpt", "movement"];
  const heats = JSON.parse(document.getElementById("heats").textContent), chosen = document.getElementById("heat");

  function show() {
    const beside = records.filter((r) => r.group.target === target && (r.pruner.name === name || references.includes(r.pruner.name)));
    Harness.curves(document.getElementById("curves-chart"), beside, dense);
    if (chosen) showHeat(heats[Number(chosen.value)]);
  }

  function showHeat(heat) {
    const cells = [];
    heat.kinds.forEach((kind, row) => {
      for (let block = 0; block < heat.blocks; block += 1) {
        const percent = typeof heat.percent === "number" ? heat.percent : heat.percent[row][block];
        if (percent !== null) cells.push({ kind, block, sparsity: percent / 100 });
      }
    });
    const spec = structuredClone(window.STUDY.heat);
    spec.datasets = { cells };
    spec.height = 20 * heat.kinds.length;
    Harness.draw(document.getElementById("heat-chart"), spec);
  }

  document.getElementById("compare").href = `../compare.html#${new URLSearchParams({ first: name })}`;
  if (chosen) chosen.addEventListener("input", show);
  Harness.listeners.push(show);
  show();
})();
