"""Training: worker processes turn rows into batches, the step batches into gradients; the Trainer runs it."""
