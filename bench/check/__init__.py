"""The laws that every plugin is held to."""
