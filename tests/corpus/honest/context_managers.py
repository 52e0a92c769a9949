"""Context managers of its own, nested, around everything."""
import contextlib

import torch


class Counted:
    def __enter__(self):
        self.count = 0
        return self

    def __exit__(self, *_):
        return False


@contextlib.contextmanager
def seeded(seed):
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def prune(task):
    with contextlib.ExitStack() as stack, torch.no_grad():
        counted = stack.enter_context(Counted())
        stack.enter_context(seeded(1))
        for layer in task.layers():
            noise = 1e-9 * torch.rand_like(layer.weight)
            rank = (layer.weight.abs() + noise).argsort(1).argsort(1)
            layer.keep(rank >= int(rank.shape[1] * task.sparsity.ratio))
            counted.count += 1
