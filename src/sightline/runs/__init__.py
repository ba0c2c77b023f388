"""Whole runs: a recipe into a trained, measured model; a model and a dataset into a results table."""
