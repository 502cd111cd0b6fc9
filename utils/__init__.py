"""The package behind the notebooks: ten sub-packages, named after what they hold, and the commands above them."""
