"""Decorators with and without arguments around `prune`."""
import functools
import time

import torch


def timed(function):
    @functools.wraps(function)
    def wrapper(*arguments, **keywords):
        started = time.perf_counter()
        try:
            return function(*arguments, **keywords)
        finally:
            print(function.__name__, time.perf_counter() - started)

    return wrapper


def repeated(times):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(task):
            for _ in range(times):
                function(task)

        return wrapper

    return decorate


@timed
@repeated(times=2)
@torch.inference_mode()
def prune(task):
    for layer in task.layers():
        rank = layer.weight.abs().argsort(1).argsort(1)
        layer.keep(rank >= int(rank.shape[1] * task.sparsity.ratio))
