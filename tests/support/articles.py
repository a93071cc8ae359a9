"""Texts that several tests publish."""

GAUGE = """After a power cut the brass gauge shows zero.

To reset the brass gauge:

1. Open the small door on the left.
2. Hold the brass button for ten seconds.
3. Wait until the needle moves.
"""
