"""Renderers of a publication: Markdown, HTML, LaTeX, JSON and CSV. They lay out, nothing else."""
