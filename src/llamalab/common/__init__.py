"""What every room may use: errors, atomic files, config checks, provenance. Imports no other room."""
