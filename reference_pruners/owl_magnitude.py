"""Magnitude with budgets by outliers: blocks of which more weights are outliers keep more of them.

S_ij = |W_ij|, compared over the layer: see `magnitude`. The budgets are those of Yin et al. 2024, "Outlier Weighed
Layerwise Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs to High Sparsity".
"""

from sandbox.allocation import outlier_budgets
from sandbox.interface import Task
from sandbox.masks import keep_largest

UNIFORM = False


def prune(task: Task) -> None:
    budgets = outlier_budgets(task)
    for layer in task.layers():
        layer.keep(keep_largest(layer.weight.abs(), budgets[layer.name], scope="layer"))
