"""NAME_stream: answers in parts."""
