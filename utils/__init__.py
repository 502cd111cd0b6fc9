"""The package behind the notebooks: nine wings, named after what they hold, under four commands."""
