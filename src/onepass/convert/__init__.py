"""Tables of rows from one format of file to another."""
