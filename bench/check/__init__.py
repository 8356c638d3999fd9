"""The conformance check: laws that every plugin must follow."""
