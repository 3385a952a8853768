"""What puts faults in place: hooks, words that change from step to step, checks of words."""
