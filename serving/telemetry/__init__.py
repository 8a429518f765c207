"""Counters and histograms that cost nothing per request, merged into one scrape per node."""
