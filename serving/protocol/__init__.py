"""The Open Inference Protocol as pure values and codecs: bytes in, values out, and back. Pure."""
