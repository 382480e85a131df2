"""Pure: what the agency host does with a task, a query or a withdrawal."""
