"""Runs in; HTML pages that open offline out."""
