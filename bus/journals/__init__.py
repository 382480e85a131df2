"""Concrete journals of agency hosts behind the ports."""
