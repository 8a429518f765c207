"""One module for each outside technology that fits a port."""
