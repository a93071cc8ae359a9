"""Tokens: keys of machines that ask the desk for things, with what each of them may."""
