//! Black-box tests: they know the `warrenmq` binary, its command line and its sockets, and nothing of its code.
