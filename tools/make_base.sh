#!/bin/bash
# Make the image `harness-base:latest`, a small Debian with Python, without any image registry.
#
#   tools/make_base.sh [ARCHIVE.tar]
#
# Needs root, debootstrap and a Docker engine; takes a minute or two, nearly all of it for Debian's packages.
# `harness sandbox build` takes this image as its base where it exists. With ARCHIVE.tar, the file is imported
# if it is there, and written if not. SUITE (default bookworm, whose Python is 3.11) and MIRROR choose the
# Debian: the image's Python must have the same minor version as the one that runs the harness.
set -euo pipefail

suite=${SUITE:-bookworm}
archive=${1:-}

if [[ -z $archive || ! -f $archive ]]; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    debootstrap --variant=minbase --include=python3,python3-venv "$suite" "$root" ${MIRROR:+"$MIRROR"}
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
    if [[ -n $archive ]]; then
        mkdir -p "$(dirname "$archive")"
        tar -C "$root" --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* -cf "$archive.$$" .
        mv "$archive.$$" "$archive"
    else
        tar -C "$root" --exclude=./dev/* --exclude=./proc/* --exclude=./sys/* -c . | docker import - harness-base:latest
        exit
    fi
fi
docker import "$archive" harness-base:latest
