"""A TCP/IP stack without input or output: bytes and times in, frames and readiness out.

`Interface` is the whole of it; everything else is a layer below. See `docs/architecture.md`.
"""
