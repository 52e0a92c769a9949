"""A loop over the rows, with a threshold for each of them."""


def prune(task):
    for layer in task.layers():
        weight = layer.weight
        for row in range(weight.shape[0]):
            count = int(weight.shape[1] * task.sparsity.ratio)
            if count == 0:
                continue
            threshold, _ = weight[row].abs().kthvalue(count)
            weight[row][weight[row].abs() <= threshold] = 0.0
