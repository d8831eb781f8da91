//! In place of the thread of the pump, on systems where pipes cannot be watched: each plugin's is
//! read by a thread of its own.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::Source;

/// Reads nothing.
pub struct Reader(());

impl Reader {
    /// A reader that takes no source.
    ///
    /// # Errors
    /// Never.
    pub fn new() -> io::Result<Self> {
        Ok(Self(()))
    }

    /// Takes nothing.
    ///
    /// # Errors
    /// Always.
    pub fn hand_over(&self, _: &Arc<Source>) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    /// Does nothing: a source's own thread goes on by itself.
    ///
    /// # Errors
    /// Never.
    pub fn restart(&self, _: &Source) -> io::Result<()> {
        Ok(())
    }

    /// Leaves the end of a source to whoever reads it.
    ///
    /// # Errors
    /// Never.
    pub fn finish(&self, _: &Source, _: usize) -> io::Result<bool> {
        Ok(false)
    }

    /// Forgets a source.
    pub fn close(&self, source: &Source) {
        source.close();
    }

    /// Has nothing to end.
    pub fn end(&self) {}
}
