"""Imports a package that the sandbox does not have."""
import torch_pruning_toolkit_pro


def prune(task):
    torch_pruning_toolkit_pro.prune(task.model)
