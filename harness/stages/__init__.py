"""The stages of the flow, one module a noun; none imports another."""
