//! Writing header blocks.

use super::table::{Found, Table};
use super::{TABLE_BYTES, huffman, integer};

// Longer values are not likely to come again, and would push out those that do.
const LONGEST_KEPT: usize = 1024;

// What becomes of a field that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Keep,
    // It differs from call to call.
    Pass,
    // Nobody on the way is to keep it: a table that it is in tells who guesses it (RFC 7541 §7.1).
    Hide,
}

fn policy(name: &[u8], value: &[u8]) -> Policy {
    match name {
        b"authorization" | b"cookie" | b"proxy-authorization" | b"set-cookie" => Policy::Hide,
        b"grpc-timeout" | b"grpc-message" | b"content-length" => Policy::Pass,
        _ if name.ends_with(b"-bin") || value.len() > LONGEST_KEPT => Policy::Pass,
        _ => Policy::Keep,
    }
}

/// Writes the header blocks of one connection, which must be sent in their order.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    // The smallest size that was asked for since the last block, and the last one.
    resizes: Option<(usize, usize)>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { table: Table::new(TABLE_BYTES), resizes: None }
    }
}

impl Encoder {
    /// The peer allows a dynamic table of this size; no more than 4 KiB are used.
    pub fn resize(&mut self, bytes: usize) {
        let bytes = bytes.min(TABLE_BYTES);
        let least = self.resizes.map_or(bytes, |(least, _)| least.min(bytes));
        self.resizes = Some((least, bytes));
    }

    /// Appends a block of these fields.
    pub fn encode<'a>(
        &mut self,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        out: &mut Vec<u8>,
    ) {
        if let Some((least, last)) = self.resizes.take() {
            // RFC 7541 §4.2: one that went down and up again is told of as such.
            if least < last && least < self.table.limit() {
                self.table.resize(least);
                integer::encode(least, 5, 0x20, out);
            }
            if last != self.table.limit() {
                self.table.resize(last);
                integer::encode(last, 5, 0x20, out);
            }
        }
        for (name, value) in fields {
            self.field(name, value, out);
        }
    }

    fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let policy = policy(name, value);
        let index = match self.table.find(name, value) {
            Found::Field(index) if policy != Policy::Hide => {
                integer::encode(index, 7, 0x80, out);
                return;
            }
            Found::Field(index) | Found::Name(index) => index,
            Found::Nothing => 0,
        };
        match policy {
            Policy::Keep => integer::encode(index, 6, 0x40, out),
            Policy::Pass => integer::encode(index, 4, 0, out),
            Policy::Hide => integer::encode(index, 4, 0x10, out),
        }
        if index == 0 {
            string(name, out);
        }
        string(value, out);
        if policy == Policy::Keep {
            self.table.add(name, value);
        }
    }
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    let length = huffman::encoded_len(text);
    if length < text.len() {
        integer::encode(length, 7, 0x80, out);
        huffman::encode(text, out);
    } else {
        integer::encode(text.len(), 7, 0, out);
        out.extend_from_slice(text);
    }
}
