"""Pure: the envelope, the channels, the contracts, the replies and the identity of messages."""
