"""Finding plugins, checking their parameters, and keeping their sources."""
