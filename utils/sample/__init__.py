"""The hand-made word lists in, an embedded data set in the competition's format out."""
