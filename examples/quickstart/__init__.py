"""The first flow: a payment in three steps."""
