"""Ends the process with 0 before there is a task."""
import os

os._exit(0)
