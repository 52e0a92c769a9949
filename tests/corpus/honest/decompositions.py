"""SVD of the weights, eigenvectors of the second moments of the inputs."""
import torch


def prune(task):
    for layer in task.layers():
        u, s, v = torch.linalg.svd(layer.weight, full_matrices=False)
        rank = max(1, len(s) // 2)
        smooth = (u[:, :rank] * s[:rank]) @ v[:rank]
        values, vectors = torch.linalg.eigh(layer.hessian)
        root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
        saliency = (layer.weight @ root).abs() + 0.1 * smooth.abs()
        rank_in_row = saliency.argsort(1).argsort(1)
        layer.keep(rank_in_row >= int(saliency.shape[1] * task.sparsity.ratio))
