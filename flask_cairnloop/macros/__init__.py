"""Texts that operators use again and again, with variables and with what is done when they are sent."""
