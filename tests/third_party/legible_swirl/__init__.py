"""Plugins for Legible from another distribution."""
