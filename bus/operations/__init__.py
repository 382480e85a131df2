"""What people and consumers do with the bus: one registry that feeds the gateway and the command line."""
