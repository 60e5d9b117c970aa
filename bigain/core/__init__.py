"""The ground: files, records, random numbers, validation, GPU locks, progress."""
