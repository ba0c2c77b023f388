"""The parts of a checkpoint: backbone, pooling, dense, normalize, router."""
