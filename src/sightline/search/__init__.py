"""Search over pages: the index on disk, fusion of its two rankings, and the searcher over both."""
