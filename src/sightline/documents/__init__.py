"""Documents on the way in: files to pages, question files, splits, and the dataset folder they become."""
