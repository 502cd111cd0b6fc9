"""A recipe and a task's rows in, a table of probabilities a fold and split out."""
