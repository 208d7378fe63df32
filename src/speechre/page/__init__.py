"""Pages for readers: tables, plots as SVG text, and HTML documents that need nothing else."""
