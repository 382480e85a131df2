"""Pure: the facts that make the timeline and the audit log."""
