"""The monitor's process: reads the log and the labels, keeps the book, and acts on what follows."""
