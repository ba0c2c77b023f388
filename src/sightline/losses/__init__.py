"""Losses: frozen values with pure functions inside. They see embeddings and a Batch, never a model."""
