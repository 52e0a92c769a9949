"use strict";
// Draws perplexity against sparsity for some pruners on one target, and again when the theme changes.

Harness.curves = async (place, records, dense) => {
  const study = window.STUDY;
  const points = records
    .filter((one) => one.group.ratio !== null && one.perplexity !== null && one.perplexity > 0)
    .map((one) => ({
      sparsity: one.group.ratio,
      perplexity: one.perplexity,
      low: one.perplexity_low,
      high: one.perplexity_high,
      interval: one.perplexity_low === null ? "" :
        `${Harness.perplexity(one.perplexity_low)} to ${Harness.perplexity(one.perplexity_high)}`,
      pruner: one.pruner.name,
      author: one.pruner.author,
    }));
  // the legend is in the order of the right ends of the lines
  const ends = new Map();
  for (const point of points) {
    const end = ends.get(point.pruner);
    if (!end || end.sparsity <= point.sparsity) ends.set(point.pruner, point);
  }
  const names = [...ends.values()].sort((a, b) => b.perplexity - a.perplexity).map((point) => point.pruner);
  if (!names.length) {
    place.replaceChildren(Harness.element("p", "No perplexities at ratios to draw."));
    return;
  }
  const colours = new Map(study.pruners.map((pruner) => [pruner.name, pruner.colour]));
  const spec = structuredClone(study.curves);
  for (const layer of spec.layer) {
    if (layer.encoding.color) {
      layer.encoding.color.scale = { domain: names, range: names.map((name) => colours.get(name)) };
    }
  }
  spec.datasets = { points, dense: dense === null ? [] : [{ perplexity: dense }] };
  await Harness.draw(place, spec);
};

Harness.draw = async (place, spec) => {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink"), line = style.getPropertyValue("--line");
  spec.config = {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: { labelColor: ink, titleColor: ink, gridColor: line, gridOpacity: 0.55, domainColor: line, tickColor: line, titleFontWeight: 500 },
    legend: { labelColor: ink, titleColor: ink, symbolOpacity: 1, symbolBaseFillColor: ink, symbolBaseStrokeColor: ink },
    title: { color: ink },
  };
  await vegaEmbed(place, spec, { actions: false, renderer: "svg", ast: true });
};
