import torch


def log_alpha(weight, fisher, prior=1e-6):
    """Log of the dropout rate of each weight."""
    log_sigma2 = -torch.log(fisher + prior)
    return log_sigma2 - torch.log(weight.pow(2) + 1e-12)


def prune(task):
    for layer in task.layers():
        alpha = log_alpha(layer.weight, layer.fisher)
        count = int(alpha.shape[1] * task.sparsity.ratio
        noisy = alpha.argsort(dim=1, descending=True)[:, :count]
        mask = torch.ones_like(alpha, dtype=torch.bool)
        mask.scatter_(1, noisy, False)
        layer.keep(mask)
