"""Tasks and groups of lm-eval, and task files of a person's own, as general benchmarks.

`index` finds task files by name and `tree` says what a benchmark is made of; both are light and are read with a study.
`data` brings the data sets, `task` evaluates, and `metrics` turns an item's outcome into values and weights.
"""
