"""Names, paths, settings and recipes that all other packages use; nothing here depends on data or models."""
