//! Integers of a prefix of some bits (RFC 7541 §5.1).

/// Takes one, whose prefix has `bits` bits, off the front of `block`; `None` when it does not end, or
/// has more than 32 bits.
pub(super) fn decode(block: &mut &[u8], bits: u32) -> Option<usize> {
    let mask = u8::MAX.checked_shr(8_u32.checked_sub(bits)?)?;
    let (first, mut rest) = block.split_first()?;
    let mut value = u64::from(first & mask);
    if first & mask == mask {
        let mut shift = 0_u32;
        loop {
            let (byte, after) = rest.split_first()?;
            rest = after;
            value = value.checked_add(u64::from(byte & 0x7f) << shift)?;
            if byte & 0x80 == 0 {
                break;
            }
            // Zeros without end are refused as well.
            shift = shift.checked_add(7).filter(|shift| *shift <= 28)?;
        }
    }
    *block = rest;
    u32::try_from(value).ok()?.try_into().ok()
}

/// Appends one, the bits before whose prefix are those of `first`.
pub(super) fn encode(value: usize, bits: u32, first: u8, out: &mut Vec<u8>) {
    let mask = u8::MAX >> 8_u32.saturating_sub(bits);
    let Some(mut rest) = value.checked_sub(usize::from(mask)) else {
        out.push(first | u8::try_from(value).unwrap_or(mask));
        return;
    };
    out.push(first | mask);
    while rest >= 0x80 {
        out.extend(rest.to_le_bytes().first().map(|byte| byte | 0x80));
        rest >>= 7;
    }
    out.extend(rest.to_le_bytes().first());
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7541 §C.1
    #[test]
    fn the_examples_of_the_rfc() {
        for (value, bits, bytes) in
            [(10, 5, &[0b01010][..]), (1337, 5, &[0b11111, 0b1001_1010, 0b1010]), (42, 8, &[42])]
        {
            let mut out = Vec::new();
            encode(value, bits, 0, &mut out);
            assert_eq!(out, bytes);
            let mut rest = bytes;
            assert_eq!(decode(&mut rest, bits), Some(value));
            assert_eq!(rest, b"");
        }
    }

    #[test]
    fn the_largest_and_larger_ones() {
        let mut out = Vec::new();
        let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        encode(most, 7, 0x80, &mut out);
        assert_eq!(decode(&mut out.as_slice(), 7), Some(most));
        out.clear();
        encode(most.saturating_add(1), 7, 0x80, &mut out);
        assert_eq!(decode(&mut out.as_slice(), 7), None);
        assert_eq!(decode(&mut &[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0][..], 7), None);
        assert_eq!(decode(&mut &[0x7f, 0x80][..], 7), None);
        assert_eq!(decode(&mut &[][..], 7), None);
    }
}
