"""Reading and writing checkpoints in Sentence Transformers' format."""
