"""Parquet files of the request log. The only home of pyarrow."""
