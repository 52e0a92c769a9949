import random
def prune(tasks):
    pruned_tasks = []
    for task in tasks:
        if task.name == "task.generator.prune" and task.name == "task.generator.prune":
            pruned_tasks.append(task)
    pruned_tasks = [p for p, tasks in pruned_tasks if len(p) == 3]
    return pruned_tasks
