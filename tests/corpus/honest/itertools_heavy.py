"""No loop that itertools, heapq or a comprehension could do, and no arithmetic of torch's."""
import heapq
import itertools
import operator

import torch


def prune(task):
    for block, group in itertools.groupby(task.layers(), key=operator.attrgetter("block")):
        for layer in group:
            rows = layer.weight.tolist()
            count = int(len(rows[0]) * task.sparsity.ratio)
            drops = (heapq.nsmallest(count, range(len(row)), key=lambda i: abs(row[i])) for row in rows)
            places = itertools.chain.from_iterable(zip(itertools.repeat(r), drop) for r, drop in enumerate(drops))
            kept = torch.ones(len(rows), len(rows[0]), dtype=torch.bool)
            for r, c in places:
                kept[r, c] = False
            layer.keep(kept)
