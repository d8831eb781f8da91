//! What the fuzz targets hold the core to. Each function panics where the core is wrong.

mod handshake;
mod hclog_chunks;
mod hclog_line;

pub use handshake::handshake;
pub use hclog_chunks::hclog_chunks;
pub use hclog_line::hclog_line;
