"""Service levels: by when a customer shall have an answer, how much of that time is left, and what happens after it."""
