"""Concrete brokers behind the ports; chosen in bootstrap only."""
