"""Images and other files: what they are by their content, where they are kept, and how long."""
