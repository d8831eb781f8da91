//! Reading header blocks.

use std::borrow::Cow;

use super::table::{ENTRY_BYTES, Table};
use super::{Headers, TABLE_BYTES, huffman, integer};

/// Reads the header blocks of one connection, in their order.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: Table::new(TABLE_BYTES) }
    }
}

impl Decoder {
    /// Reads a block. `None` when its list is longer than `limit`, each field counted with 32 bytes
    /// more than its text: it was read nevertheless, since it may be of use to later ones.
    ///
    /// # Errors
    ///
    /// It is none; says why.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        limit: usize,
    ) -> Result<Option<Headers>, &'static str> {
        let mut headers = Headers::default();
        let mut size = 0_usize;
        let mut may_resize = true;
        let table = &mut self.table;
        while let Some(first) = block.first() {
            if first & 0xe0 == 0x20 {
                let bytes = integer::decode(&mut block, 5).filter(|bytes| *bytes <= TABLE_BYTES);
                if !may_resize {
                    return Err("a table size update inside of a header block");
                }
                table.resize(bytes.ok_or("a header table larger than was offered")?);
                continue;
            }
            may_resize = false;
            let mut put = |name: &[u8], value: &[u8]| {
                let bytes = name.len().saturating_add(value.len()).saturating_add(ENTRY_BYTES);
                size = size.saturating_add(bytes);
                if size <= limit {
                    headers.push(name, value);
                }
            };
            if first & 0x80 != 0 {
                let index = integer::decode(&mut block, 7).ok_or("a header index too large")?;
                let (name, value) = table.get(index).ok_or("a header index without an entry")?;
                put(name, value);
                continue;
            }
            let is_kept = first & 0x40 != 0;
            let bits = if is_kept { 6 } else { 4 };
            let index = integer::decode(&mut block, bits).ok_or("a header index too large")?;
            let name = if index == 0 {
                string(&mut block)?
            } else {
                let (name, _) = table.get(index).ok_or("a header index without an entry")?;
                Cow::Owned(name.to_vec())
            };
            let value = string(&mut block)?;
            put(&name, &value);
            if is_kept {
                table.add(&name, &value);
            }
        }
        Ok((size <= limit).then_some(headers))
    }
}

// The next string.
fn string<'a>(block: &mut &'a [u8]) -> Result<Cow<'a, [u8]>, &'static str> {
    let is_huffman = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer::decode(block, 7).ok_or("a header block that does not end")?;
    let (text, rest) = block.split_at_checked(length).ok_or("a header block that does not end")?;
    *block = rest;
    if !is_huffman {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(length.saturating_mul(2));
    huffman::decode(text, &mut decoded).ok_or("a header that is no Huffman code")?;
    Ok(Cow::Owned(decoded))
}
