//! The yamux session: alone against frames made by hand, and in pairs joined in memory, under a
//! clock that the test moves.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

mod ends;
mod floods;
mod frames;
mod operations;
mod streams;
mod timers;
mod violations;
