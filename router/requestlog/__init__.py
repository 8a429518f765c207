"""What a record of a request says and how records are counted. Pure."""
