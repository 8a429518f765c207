"""Runtimes that turn input tensors into output tensors behind one small protocol."""
