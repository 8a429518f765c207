"""Measures what the monitor promises, on streams with known drift; fixed seeds, pages in docs/results/."""
