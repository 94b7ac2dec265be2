//! The journal through its public face, on a disk that crashes, fails, fills up and rots.

#![allow(clippy::unwrap_used, reason = "a test that meets an error is to fail")]

mod crashes;
mod damage;
mod failures;
mod lives;
mod model;
mod threads;
mod timing;
