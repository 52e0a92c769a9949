"""`prune` is an object that can be called, and remembers what it did."""


class Prune:
    def __init__(self, power):
        self.power = power
        self.done = []

    def __call__(self, task):
        for layer in task.layers():
            saliency = layer.weight.abs() ** self.power
            layer.keep(saliency.argsort(1).argsort(1) >= int(saliency.shape[1] * task.sparsity.ratio))
            self.done.append(layer.name)


prune = Prune(power=2)
