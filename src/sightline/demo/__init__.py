"""The demo: a self-made document collection, a small two-tower model, and the run that shows the road."""
