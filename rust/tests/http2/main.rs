//! The HTTP/2 connection: alone against frames made by hand, and in pairs joined in memory.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

mod ends;
mod floods;
mod flow;
mod headers;
mod hpack;
mod operations;
mod streams;
mod violations;
