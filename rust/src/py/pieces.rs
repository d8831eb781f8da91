//! What comes of one stream at once, and next to each other, is one piece for Python.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Pieces of one stream that wait for those that follow them.
#[derive(Default)]
pub(super) struct Pieces<'a> {
    stream: u32,
    pieces: Vec<&'a [u8]>,
}

impl<'a> Pieces<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Takes one more, and returns what waited, where that is of another stream.
    pub(super) fn push<'py>(
        &mut self,
        py: Python<'py>,
        stream: u32,
        piece: &'a [u8],
    ) -> PyResult<Option<(u32, Bound<'py, PyBytes>)>> {
        let before = if stream == self.stream { None } else { self.take(py)? };
        self.stream = stream;
        self.pieces.push(piece);
        Ok(before)
    }

    /// What waited, with its stream.
    pub(super) fn take<'py>(
        &mut self,
        py: Python<'py>,
    ) -> PyResult<Option<(u32, Bound<'py, PyBytes>)>> {
        if self.pieces.is_empty() {
            return Ok(None);
        }
        let length = self.pieces.iter().fold(0_usize, |sum, piece| sum.saturating_add(piece.len()));
        let data = PyBytes::new_with(py, length, |mut room| {
            for piece in self.pieces.drain(..) {
                room = put(room, piece);
            }
            Ok(())
        })?;
        Ok(Some((self.stream, data)))
    }
}

/// Fills the beginning of `room`, and returns the rest of it.
pub(super) fn put<'a>(room: &'a mut [u8], bytes: &[u8]) -> &'a mut [u8] {
    let Some((here, rest)) = room.split_at_mut_checked(bytes.len()) else {
        return &mut [];
    };
    here.copy_from_slice(bytes);
    rest
}
