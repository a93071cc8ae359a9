"""How the knowledge base gets better: what is asked that no article answers."""
