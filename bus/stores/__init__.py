"""The truth of the bus side: the Store port over SQL."""
