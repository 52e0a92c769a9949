"""torch's own pruning functions, with their masks made permanent on every other layer only."""
from torch.nn.utils import prune as pruning


def prune(task):
    for number, layer in enumerate(task.layers()):
        module = task.model.get_submodule(layer.name)
        pruning.l1_unstructured(module, "weight", amount=int(module.weight.numel() * task.sparsity.ratio))
        if number % 2:
            pruning.remove(module, "weight")
