"""Keeps the fences of its Markdown block."""
```python
def prune(task):
    for layer in task.layers():
        layer.keep(layer.weight.abs() > layer.weight.abs().median())
```
