"""A profile and a data folder in, the memory, disk and hours of every step out."""
