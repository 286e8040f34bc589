"""Loss as a function of parameters and tokens: fitted to runs, and what it says about training longer."""
