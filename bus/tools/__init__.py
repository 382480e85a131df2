"""Tools on files: check."""
