//! The core of the log stream: from the bytes of a plugin's stderr to records, batches and what is
//! forwarded.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

mod batch;
#[cfg(unix)]
mod forward;
mod hclog;
#[cfg(unix)]
mod host;
mod json;
#[cfg(unix)]
mod pipes;
#[cfg(unix)]
mod pump;
#[cfg(unix)]
mod reader;
mod texts;
