"""The one exception a user is meant to read."""

# In the environment of a rank that a supervisor started: the folder where it leaves its error, for the supervisor to
# raise, instead of printing it beside those of the other ranks.
RANK_REPORTS = "LLAMALAB_RANK_REPORTS"


class UserError(ValueError):
    """Bad input: the message is one line that names the key or file and the fix.

    The command line prints it without a traceback and exits with code 2.
    """
