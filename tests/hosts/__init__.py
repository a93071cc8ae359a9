"""Hosts that were not made for the desk: what they bring along must not break it, and it must not break them."""
