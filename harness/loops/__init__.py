"""`harness.evaluator` in the forms that other people's loops ask for; none of them is needed by the harness itself."""
