//! The commands of this repository (`cargo xtask …`). It may run everything and is needed by nothing.

fn main() {}
