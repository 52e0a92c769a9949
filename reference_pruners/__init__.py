"""One pruner a file, written by people; the harness reads them as text and never imports them."""
