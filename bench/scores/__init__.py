"""Score tables: from runs, from files, and from other people's submissions."""
