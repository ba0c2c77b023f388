"""How well a model retrieves: metrics, blockwise search, evaluators, significance, reports.

Importing this package or any module of it does not load torch.
"""
