"use strict";
// Two pruners side by side.

(() => {
  const study = window.STUDY, records = Harness.records();
  const part = (id) => document.getElementById(id);
  const names = study.pruners.map((pruner) => pruner.name);
  const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const targets = [...new Set(study.groups.map((group) => group.target))];
  const choices = names.map((name) => [name, name]);
  Harness.options(part("first"), choices, asked.first ?? names[0]);
  const other = names.find((name) => name !== part("first").value) ?? names[0];
  Harness.options(part("second"), choices, asked.second ?? other);
  Harness.options(part("target"), targets.map((name) => [name, name]), asked.target ?? targets[0]);
  const HEADINGS = ["sparsity", "first", "second", "ratio", "95% interval", "p (Holm)", "better"];
  part("pairs").querySelector("thead tr").append(...HEADINGS.map((heading) => Harness.element("th", heading, { scope: "col" })));

  function pair(group, first, second) {
    const ranking = study.pairs.find((one) => one.group === group);
    const [i, j] = ranking ? [ranking.members.indexOf(first), ranking.members.indexOf(second)] : [-1, -1];
    if (i < 0 || j < 0) return null;
    const [a, b, count] = [Math.min(i, j), Math.max(i, j), ranking.members.length];
    const place = a * count - (a * (a + 1)) / 2 + b - a - 1;
    const better = { "<": 1, "=": 0, ">": -1 }[ranking.better[place]];
    const [ratio, low, high, p] = ranking.numbers ? ranking.numbers[place] : [null, null, null, null];
    if (i < j) return { better, ratio, low, high, p };
    const turned = (value) => (value ? 1 / value : null);
    return { better: -better, ratio: turned(ratio), low: turned(high), high: turned(low), p };
  }

  function table(first, second, target) {
    const places = [names.indexOf(first), names.indexOf(second)];
    return study.groups.flatMap((group, index) => {
      if (group.target !== target) return [];
      const cells = [first, second].map((name) => records.find((r) => r.group === group && r.pruner.name === name));
      if (!cells[0] && !cells[1]) return [];
      const test = first === second ? null : pair(index, ...places);
      const row = Harness.element("tr");
      const shown = cells.map((r) => (r ? Harness.perplexity(r.perplexity) || r.status : ""));
      const verdict = test ? { 1: first, 0: "cannot be told apart", "-1": second }[test.better] : "";
      const numbers = test && test.ratio ? [Harness.ratio(test.ratio), `${Harness.ratio(test.low)} to ${Harness.ratio(test.high)}`, test.p < 0.001 ? "< 0.001" : test.p.toFixed(3)] : ["", "", ""];
      row.append(Harness.element("th", group.sparsity, { scope: "row" }));
      row.append(...[...shown, ...numbers, verdict].map((text) => Harness.element("td", text)));
      return [row];
    });
  }

  // the longest common subsequence of lines tells which have no partner
  function alone(lines, others) {
    const lengths = Array.from({ length: lines.length + 1 }, () => new Uint16Array(others.length + 1));
    for (let i = lines.length - 1; i >= 0; i -= 1) {
      for (let j = others.length - 1; j >= 0; j -= 1) {
        lengths[i][j] = lines[i] === others[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
      }
    }
    const marked = new Set(lines.keys());
    for (let i = 0, j = 0; i < lines.length && j < others.length;) {
      if (lines[i] === others[j]) { marked.delete(i); i += 1; j += 1; }
      else if (lengths[i + 1][j] >= lengths[i][j + 1]) i += 1;
      else j += 1;
    }
    return marked;
  }

  function code(which, pruner, other) {
    part(`${which}-name`).replaceChildren(Harness.link(pruner, ""));
    const lines = (pruner.code ?? "").split("\n"), others = (other.code ?? "").split("\n");
    if (pruner.code === null) {
      part(`${which}-code`).replaceChildren("No code of it is at hand.");
      return;
    }
    const marked = alone(lines.slice(0, 2000), others.slice(0, 2000));
    part(`${which}-code`).replaceChildren(...lines.flatMap((line, place) => [
      marked.has(place) && line.trim() ? Harness.element("mark", line) : line, "\n",
    ]));
  }

  function show() {
    const first = part("first").value, second = part("second").value, target = part("target").value;
    part("pairs").querySelector("tbody").replaceChildren(...table(first, second, target));
    const [one, two] = [first, second].map((name) => study.pruners[names.indexOf(name)]);
    code("first", one, two);
    code("second", two, one);
    const dense = study.groups.find((group) => group.target === target);
    const both = records.filter((r) => r.group.target === target && [first, second].includes(r.pruner.name));
    Harness.curves(part("curves-chart"), both, dense ? dense.dense : null);
    history.replaceState(null, "", `#${new URLSearchParams({ first, second, target })}`);
  }

  for (const id of ["first", "second", "target"]) part(id).addEventListener("input", show);
  if (!names.length) return;
  Harness.listeners.push(show);
  show();
})();
