"""One rich console for every verb; progress goes to stderr so that stdout stays pipeable."""

from rich.console import Console

console = Console()
progress_console = Console(stderr=True)
