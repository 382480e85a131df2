"""``bus demo``: people ask for one service, live, while agencies, broker and clerks let the bus down."""

from bus.cli.demo.command import demo

__all__ = ["demo"]
