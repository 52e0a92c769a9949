"""Begins with the words that a model says before its code."""
Sure! Here is a pruner that removes the smallest weights:

def prune(task):
    for layer in task.layers():
        layer.keep(layer.weight.abs() > layer.weight.abs().median())
