"""The gate: decides from the log whether a challenger has won against the model that answers."""
