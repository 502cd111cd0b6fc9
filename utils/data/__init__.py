"""The competition's files in, clean tables and leak-free folds out."""
