"""What the tests stand on: servers, databases, a minimal host app, and real processes of it."""
