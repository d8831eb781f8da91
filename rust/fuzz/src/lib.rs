//! What the fuzz targets hold the core to. Each function panics where the core is wrong.

mod handshake;
mod hclog_chunks;
mod hclog_line;
mod http2_bytes;
mod http2_ops;
mod yamux_bytes;
mod yamux_ops;

pub use handshake::handshake;
pub use hclog_chunks::hclog_chunks;
pub use hclog_line::hclog_line;
pub use http2_bytes::http2_bytes;
pub use http2_ops::http2_ops;
pub use yamux_bytes::yamux_bytes;
pub use yamux_ops::yamux_ops;
