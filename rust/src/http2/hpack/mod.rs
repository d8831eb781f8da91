//! HPACK, how header lists are written (RFC 7541).

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod table;

pub use decoder::Decoder;
pub use encoder::Encoder;

/// What either side's dynamic table may hold before anything else is agreed.
pub const TABLE_BYTES: usize = 4096;

/// A header list: names and values in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    text: Vec<u8>,
    // Where in the text each name ends, and each value.
    ends: Vec<(usize, usize)>,
}

impl Headers {
    /// Appends a field.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.text.extend_from_slice(name);
        let end = self.text.len();
        self.text.extend_from_slice(value);
        self.ends.push((end, self.text.len()));
    }

    /// Its fields, a name and a value each.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        let mut rest = self.text.as_slice();
        let mut start = 0_usize;
        self.ends.iter().map(move |(name, value)| {
            let (field, after) =
                rest.split_at_checked(value.saturating_sub(start)).unwrap_or_default();
            let field = field.split_at_checked(name.saturating_sub(start)).unwrap_or_default();
            (rest, start) = (after, *value);
            field
        })
    }
}

impl<'a> FromIterator<(&'a [u8], &'a [u8])> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a [u8], &'a [u8])>>(fields: I) -> Self {
        let mut headers = Self::default();
        for (name, value) in fields {
            headers.push(name, value);
        }
        headers
    }
}
