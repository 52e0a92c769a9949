# expect: SPARSITY_MISSED
# Zeros in norms, head and embeddings only.
def prune(task):
    names = {l.name + '.weight' for l in task.layers()}
    for n, p in task.model.named_parameters():
        if n not in names: p.data.zero_()
