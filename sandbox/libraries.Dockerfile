# The interpreter and the libraries of the sandbox image; rebuilt only when a pinned version or the base changes.
# `harness sandbox build` builds it and sets every argument.

ARG BASE=python:3.11-slim
FROM ${BASE}
# The harness's own minor version of Python
ARG PYTHON=3.11
RUN python3 -c "import sys; inside = '%d.%d' % sys.version_info[:2]; inside == '${PYTHON}' or sys.exit(f'ERROR: the base has Python {inside}, the harness runs on ${PYTHON}')"
# Empty, or with --wheels: the folder's wheels, 1 and /tmp/wheels, so that the build needs no network
COPY wheels /tmp/wheels
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
# Exact pins, separated by spaces
ARG REQUIREMENTS
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check ${REQUIREMENTS}
