"""The bus: agencies of one government answer a citizen together."""
