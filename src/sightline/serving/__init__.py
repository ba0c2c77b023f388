"""The service behind `sightline serve`: search, embeddings and reranking over HTTP."""
