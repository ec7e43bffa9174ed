"""A run folder in, one page out."""
