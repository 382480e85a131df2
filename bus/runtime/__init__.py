"""The shell: process manager, dispatcher, relay, timekeeper, agency host."""
