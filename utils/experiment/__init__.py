"""A recipe and a task's rows in, a table of probabilities per fold and split out."""
