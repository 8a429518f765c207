"""`make demo`: two delay models on real flights, a canary and a shadow, replayed traffic and a live view."""
