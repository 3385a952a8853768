"""A campaign whose groups of trials are tasks of a Dask cluster."""
