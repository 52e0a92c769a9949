"""An abstract class, a subclass for each kind of sparsity, a factory."""
import abc

import torch


class Mask(abc.ABC):
    @abc.abstractmethod
    def of(self, saliency): ...

    @classmethod
    def build(cls, sparsity):
        return Groups(sparsity.n, sparsity.m) if sparsity.n is not None else Rows(sparsity.ratio)


class Rows(Mask):
    def __init__(self, ratio):
        self.ratio = ratio

    def of(self, saliency):
        return saliency.argsort(1).argsort(1) >= int(saliency.shape[1] * self.ratio)


class Groups(Mask):
    def __init__(self, n, m):
        self.n, self.m = n, m

    def of(self, saliency):
        ranks = saliency.reshape(-1, self.m).argsort(1).argsort(1)
        return (ranks >= self.m - self.n).reshape(saliency.shape)


class Pruner:
    def __init__(self, task):
        self.mask = Mask.build(task.sparsity)
        self.task = task

    def run(self):
        for layer in self.task.layers():
            layer.keep(self.mask.of(torch.abs(layer.weight)))


def prune(task):
    Pruner(task).run()
