"""Models as people use them."""
