"""The stage graph of a network whose forward is its own, derived from recorded inferences."""
