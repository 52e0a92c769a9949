"""`prune` wants a model and a ratio."""


def prune(model, ratio):
    for parameter in model.parameters():
        parameter.data.zero_()
