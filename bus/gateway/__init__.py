"""The HTTP API under ``/v1``: the operations, with tokens, limits and errors that say how to mend them."""
