"""Rows and a network in, trained weights and probabilities out, on one process or many."""
