"""What is held about a person: taken out of texts, handed out, forgotten."""
