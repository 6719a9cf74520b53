"""Tables: pure functions from every item's outcome to scores, trade-offs and the Pareto front, in declared schemas."""
