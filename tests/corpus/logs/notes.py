"""Remarks by the thousand, with everything in them that a report could choke on, and prunes as asked."""


def prune(task):
    for number in range(5_000):
        task.note(f"\x1b[31m<script>alert({number})</script> | =cmd() \u202e \\input{{x}} " + "x" * 10_000)
    for layer in task.layers():
        layer.keep(layer.weight.abs().argsort(1).argsort(1) >= layer.weight.shape[1] // 2)
