"""Generated programs: run apart from everything else, and scored with pass@k."""
