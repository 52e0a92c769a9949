import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans

N_CLUSTERS = 16


def cluster_layer(weight: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Cluster the absolute weights; returns the labels and the centroids."""
    values = weight.abs().flatten().cpu().numpy().reshape(-1, 1)
    kmeans = MiniBatchKMeans(n_clusters=N_CLUSTERS, random_state=0, n_init=3)
    labels = kmeans.fit_predict(values)
    return labels, kmeans.cluster_centers_.ravel()


def prune(task):
    for layer in task.layers():
        weight = layer.weight
        labels, centroids = cluster_layer(weight)
        magnitude = weight.abs().flatten().cpu().numpy()
        # order by the centroid of the cluster first, and by the weight itself inside a cluster
        order = np.lexsort((magnitude, centroids[labels]))
        n_prune = int(np.ceil(magnitude.size * task.sparsity.ratio))
        mask = np.ones(magnitude.size, dtype=bool)
        mask[order[:n_prune]] = False
        layer.keep(torch.from_numpy(mask).reshape(weight.shape))
