//! Huffman coding of strings (RFC 7541 §5.2 and appendix B).

// How many bits each byte has, and the end mark behind them. The code is canonical, so that this is
// all there is to know of it.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const LONGEST: usize = 30;

// The codes of one length.
#[derive(Debug, Clone, Copy)]
struct Rank {
    length: u32,
    // The first code, and the first behind the last, with their bits at the left.
    start: u64,
    end: u64,
    // Where the symbols begin in `SYMBOLS`.
    index: usize,
}

const TABLES: ([u32; 257], [u16; 257], [Rank; LONGEST + 1]) = tables();
const CODES: [u32; 257] = TABLES.0;
// Sorted by code.
const SYMBOLS: [u16; 257] = TABLES.1;
static RANKS: [Rank; LONGEST + 1] = TABLES.2;

#[allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "at compile time"
)]
const fn tables() -> ([u32; 257], [u16; 257], [Rank; LONGEST + 1]) {
    let mut codes = [0; 257];
    let mut symbols = [0; 257];
    let mut ranks = [Rank { length: 0, start: 0, end: 0, index: 0 }; LONGEST + 1];
    let (mut code, mut index, mut length) = (0_u64, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        let shift = 32 - length;
        let first = index;
        let start = code << shift;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                codes[symbol] = code as u32;
                symbols[index] = symbol as u16;
                code += 1;
                index += 1;
            }
            symbol += 1;
        }
        ranks[length] = Rank { length: length as u32, start, end: code << shift, index: first };
        length += 1;
    }
    (codes, symbols, ranks)
}

/// Appends what `bytes` stand for; `None` when they are no Huffman code.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut input = bytes.iter();
    // The next bits, at the left, with ones behind them: that is how a string ends.
    let (mut bits, mut count) = (u64::MAX, 0_u32);
    loop {
        while count <= 56
            && let Some(byte) = input.next()
        {
            let shift = 56_u32.saturating_sub(count);
            bits &= !(u64::from(!*byte) << shift);
            count = count.saturating_add(8);
        }
        let top = bits >> 32;
        let rank = RANKS.iter().find(|rank| top < rank.end)?;
        if rank.length > count {
            return (count < 8 && top == u64::from(u32::MAX)).then_some(());
        }
        let offset = top.saturating_sub(rank.start) >> 32_u32.saturating_sub(rank.length);
        let index = rank.index.saturating_add(usize::try_from(offset).ok()?);
        // The end mark is no byte.
        out.push(u8::try_from(*SYMBOLS.get(index)?).ok()?);
        bits = (bits << rank.length) | !(u64::MAX << rank.length);
        count = count.saturating_sub(rank.length);
    }
}

/// How many bytes `text` has when it is encoded.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits = |byte: &u8| LENGTHS.get(usize::from(*byte)).map_or(0, |bits| usize::from(*bits));
    text.iter().fold(0_usize, |sum, byte| sum.saturating_add(bits(byte))).div_ceil(8)
}

/// Appends `text`, encoded.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for byte in text {
        let symbol = usize::from(*byte);
        let (Some(code), Some(length)) = (CODES.get(symbol), LENGTHS.get(symbol)) else { continue };
        bits = (bits << *length) | u64::from(*code);
        count = count.saturating_add(u32::from(*length));
        while let Some(rest) = count.checked_sub(8) {
            out.extend((bits >> rest).to_le_bytes().first());
            count = rest;
        }
    }
    if count > 0 {
        let padding = 8_u32.saturating_sub(count);
        let last = (bits << padding) | !(u64::MAX << padding);
        out.extend(last.to_le_bytes().first());
    }
}
