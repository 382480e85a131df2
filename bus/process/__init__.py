"""Pure: what a service is, what state a request is in, and what follows from an event."""
