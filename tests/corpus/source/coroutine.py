"""`prune` is a coroutine function: calling it does nothing."""


async def prune(task):
    for layer in task.layers():
        layer.weight.zero_()
