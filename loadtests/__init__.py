"""Load from outside: `bench` measures beside a plain app, Locust plays users with thresholds that fail."""
