"""The parts of `convscope tune`: space, storage, trials, the processes that run them, what is made
of them. optuna is imported within functions alone."""
