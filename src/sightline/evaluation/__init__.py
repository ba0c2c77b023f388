"""How well a model retrieves: metrics, blockwise search, evaluators, significance, reports.

Importing this package or any module of it loads neither torch nor matplotlib.
"""
