//! What is counted and what is not: two functions by whose names callgrind switches its count over.
//!
//! Invariant: they are real calls in the binary, and no other function has their names in its own.

/// What runs in `part` counts.
#[inline(never)]
pub fn in_the_count<R>(part: impl FnOnce() -> R) -> R {
    part()
}

/// What runs in `part`, called from inside the count, does not: the kernel and the clients.
#[inline(never)]
pub fn beside_the_count<R>(part: impl FnOnce() -> R) -> R {
    part()
}
