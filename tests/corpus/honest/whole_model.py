"""Works on the model's own modules and never looks at a layer's handle for more than its name."""
import torch


@torch.no_grad()
def prune(task):
    wanted = {layer.name for layer in task.layers()}
    for name, module in task.model.named_modules():
        if name in wanted:
            saliency = module.weight.abs()
            if task.sparsity.n:
                groups = saliency.view(-1, task.sparsity.m)
                drop = groups.topk(task.sparsity.m - task.sparsity.n, largest=False).indices
                module.weight.view(-1, task.sparsity.m).scatter_(1, drop, 0)
            else:
                cut = saliency.flatten().kthvalue(int(saliency.numel() * task.sparsity.ratio)).values
                module.weight[saliency <= cut] = 0
