"""What others would build the same fan-out with, each a set of programs of its own on the same broker."""
