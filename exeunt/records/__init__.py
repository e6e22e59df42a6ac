"""What happened to the rows, as arrays and on disk.

feedback.py   finished rows: what controller, tuners, records and replay share; the newest of them, in memory
decided.py    all rows of a ticket, finished or not, with their moments and coins
record.py     the format of the files, and how they are read back
parquet.py    the log that writes them beside serving
"""
