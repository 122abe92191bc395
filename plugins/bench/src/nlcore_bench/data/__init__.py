"""The data of the tasks: digits, tables and files of queries, maps."""
