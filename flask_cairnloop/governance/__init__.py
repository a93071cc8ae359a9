"""Governed actions: one pipeline decides, one place runs, nothing runs twice or unasked."""
