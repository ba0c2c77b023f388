"""The data doctor: what is wrong with pages, questions and negatives before a model is trained on them."""
