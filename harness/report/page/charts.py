"""Vega-Lite specifications of the page's charts; the page puts the data in, and draws them with the bundled Vega."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from typing import Any

from harness import atomic, resources

# seen well on white and on black; cool for people, warm for models
_COLOURS = {
    "human": (
        *("#1f7fc4", "#0a9a78", "#7a6ff0", "#5b8f22", "#2f9fb5"),
        *("#4a5fd6", "#3f9b4f", "#9a7bd0", "#0f8a9a", "#7f8f00"),
    ),
    "model": (
        *("#d1601f", "#c44e9b", "#b8860b", "#c2415f", "#9a6a3a"),
        *("#e0703f", "#b05fc0", "#c99a1a", "#d0507f", "#a8542f"),
    ),
}
_AUTHORS = {"human": "written by a person", "model": "written by a model"}
_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_SPARSITY = {
    "field": "sparsity",
    "type": "quantitative",
    "title": "sparsity (fraction of zeros)",
    "scale": {"domain": [0, 1]},
    "axis": {"format": ".2~f", "tickCount": 10},
}
_PERPLEXITY = {
    "type": "quantitative",
    "title": "perplexity (log scale)",
    "scale": {"type": "log", "nice": False, "padding": 14},
    "axis": {"tickCount": 6, "labelExpr": "format(datum.value, datum.value < 1e7 ? ',~r' : '.0e')"},
}
_EXPORTS = "window.vegaEmbed = vegaEmbed;"


def bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script, which needs no network; made once and cached."""
    import vl_convert  # noqa: PLC0415 - it is 30 MB

    versions = f"{version('vl-convert-python')}-{vl_convert.get_vega_version()}"
    path = resources.cache_folder() / "vega" / f"{re.sub(r'[^0-9A-Za-z.-]', '_', versions)}.js"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    script: str = vl_convert.javascript_bundle(_EXPORTS)
    atomic.write(path, script.encode())
    return script


def colours(authors: Iterable[str]) -> list[str]:
    """One for each pruner, by its author."""
    wheels = {author: cycle(palette) for author, palette in _COLOURS.items()}
    return [next(wheels[author]) for author in authors]


def curves() -> dict[str, Any]:
    """Perplexity against sparsity: lines with their 95% bands, dense models dotted.

    The data are named `points` (sparsity, perplexity, low, high, pruner, author) and `dense` (perplexity); colours come
    with the data.
    """
    picked = {"condition": {"param": "picked", "empty": True, "value": 1}, "value": 0.12}
    colour = {
        "field": "pruner",
        "type": "nominal",
        "title": "pruner",
        "sort": None,
        "legend": {"symbolLimit": 40, "labelLimit": 260},
    }
    author = {"field": "author", "type": "nominal", "title": "author", "legend": {"labelExpr": _author_labels()}}
    dash = {**author, "scale": {"domain": list(_AUTHORS), "range": [[1, 0], [6, 3]]}}
    shape = {**author, "scale": {"domain": list(_AUTHORS), "range": ["circle", "diamond"]}}
    facts = [
        {"field": "pruner", "type": "nominal"},
        {"field": "sparsity", "type": "quantitative"},
        {"field": "perplexity", "type": "quantitative", "format": ",.2f"},
        {"field": "interval", "type": "nominal", "title": "95% interval"},
    ]
    points: dict[str, Any] = {"data": {"name": "points"}, "encoding": {"x": _SPARSITY, "color": colour}}
    return {
        "$schema": _SCHEMA,
        "width": "container",
        "height": 380,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "layer": [
            {
                **points,
                "mark": {"type": "area", "opacity": 0.18, "aria": False},
                "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
                "encoding": {
                    **points["encoding"],
                    "y": {**_PERPLEXITY, "field": "low"},
                    "y2": {"field": "high"},
                    "opacity": {"condition": {"param": "picked", "empty": True, "value": 0.18}, "value": 0.02},
                },
            },
            {
                **points,
                "mark": {"type": "line", "strokeWidth": 1.8, "aria": False},
                "encoding": {
                    **points["encoding"],
                    "y": {**_PERPLEXITY, "field": "perplexity"},
                    "strokeDash": dash,
                    "opacity": picked,
                },
            },
            {
                **points,
                "params": [{"name": "picked", "select": {"type": "point", "fields": ["pruner"]}, "bind": "legend"}],
                "mark": {"type": "point", "filled": True, "size": 46},
                "encoding": {
                    **points["encoding"],
                    "y": {**_PERPLEXITY, "field": "perplexity"},
                    "shape": shape,
                    "opacity": picked,
                    "tooltip": facts,
                },
            },
            {
                "data": {"name": "dense"},
                "mark": {"type": "rule", "strokeDash": [2, 3], "color": "#888888", "aria": False},
                "encoding": {"y": {**_PERPLEXITY, "field": "perplexity"}},
            },
        ],
    }


def heat_map() -> dict[str, Any]:
    """Sparsity by block and kind of layer; the data are named `cells` (block, kind, sparsity)."""
    return {
        "$schema": _SCHEMA,
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"name": "cells"},
        "mark": {"type": "rect", "stroke": "#88888844"},
        "encoding": {
            "x": {"field": "block", "type": "ordinal", "title": "decoder block", "axis": {"labelAngle": 0}},
            "y": {"field": "kind", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 220}},
            "color": {
                "field": "sparsity",
                "type": "quantitative",
                "title": "fraction of zeros",
                "scale": {"domain": [0, 1], "scheme": "viridis"},
                "legend": {"format": ".0%"},
            },
            "tooltip": [
                {"field": "kind", "type": "nominal", "title": "layer"},
                {"field": "block", "type": "ordinal"},
                {"field": "sparsity", "type": "quantitative", "format": ".0%"},
            ],
        },
    }


def assets() -> Path:
    """The folder of the page's own scripts and styles."""
    return Path(__file__).parent / "assets"


def _author_labels() -> str:
    return f"datum.label == 'human' ? '{_AUTHORS['human']}' : '{_AUTHORS['model']}'"
