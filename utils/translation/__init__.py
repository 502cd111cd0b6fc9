"""Queries in, their English translations out; each distinct query is translated once."""
