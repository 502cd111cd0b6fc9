"""The name of a model in, a network with a 2-way head out."""
