"""Follow-ups: words of ours that nobody has just asked for, to one customer or to several, each at most once."""
