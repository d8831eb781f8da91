//! Lines of a byte stream, cut as go-plugin's host cuts a plugin's stderr (`client.go`, `logStderr`).
//!
//! A line ends at LF; one CR before it is no part of it. A line that does not fit the limit together
//! with its LF comes in pieces of exactly the limit, the last of them with what is left. Memory is
//! bounded by the limit, and an endless line is handed on as soon as a piece is full.

use memchr::memchr_iter;

/// The least limit, as that of the buffered reader in Go.
pub const LEAST_LIMIT: usize = 16;

/// One line, or a piece of one that is longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes without the line end.
    pub text: &'a [u8],
    /// Whether it is a line, not a piece of one.
    pub is_whole: bool,
    /// Whether its line has ended with it: by LF, or because the stream did.
    pub has_end: bool,
}

/// Cuts chunks of a stream into lines.
#[derive(Debug)]
pub struct LineSplitter {
    // The longest line that is not cut, its LF included.
    limit: usize,
    // The start of a line whose end has not come yet, always shorter than the limit.
    partial: Vec<u8>,
    // Whether a piece of the current line was handed on already.
    is_continued: bool,
}

impl LineSplitter {
    /// A splitter for lines of up to `limit` bytes, LF included; at least [`LEAST_LIMIT`].
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit: limit.max(LEAST_LIMIT), partial: Vec::new(), is_continued: false }
    }

    /// Takes the next bytes of the stream, and hands each line that ends in them to `each`.
    pub fn push(&mut self, chunk: &[u8], each: &mut impl FnMut(Line<'_>)) {
        let mut start = 0;
        for end in memchr_iter(b'\n', chunk) {
            let line = chunk.get(start..end).unwrap_or_default();
            start = end.saturating_add(1);
            if self.partial.is_empty() && line.len() < self.limit {
                self.hand_on(line, each);
                continue;
            }
            self.extend(line, each);
            let line = std::mem::take(&mut self.partial);
            self.hand_on(&line, each);
            self.partial = line;
            self.partial.clear();
        }
        self.extend(chunk.get(start..).unwrap_or_default(), each);
    }

    /// Hands on what came after the last LF; the stream has ended.
    pub fn finish(&mut self, each: &mut impl FnMut(Line<'_>)) {
        if !self.partial.is_empty() {
            each(Line { text: &self.partial, is_whole: !self.is_continued, has_end: true });
        }
        self.partial = Vec::new();
        self.is_continued = false;
    }

    // The end of a line has come: `line` is what was not handed on of it.
    fn hand_on(&mut self, line: &[u8], each: &mut impl FnMut(Line<'_>)) {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        each(Line { text, is_whole: !self.is_continued, has_end: true });
        self.is_continued = false;
    }

    // Adds to the line under way, and hands on each piece that becomes full.
    fn extend(&mut self, mut rest: &[u8], each: &mut impl FnMut(Line<'_>)) {
        while let Some((piece, left)) =
            rest.split_at_checked(self.limit.saturating_sub(self.partial.len()))
        {
            rest = left;
            self.partial.extend_from_slice(piece);
            // It may be that of a CR LF: it waits for what comes next.
            let held = self.partial.pop_if(|byte| *byte == b'\r');
            each(Line { text: &self.partial, is_whole: false, has_end: false });
            self.is_continued = true;
            self.partial.clear();
            self.partial.extend(held);
        }
        self.partial.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (Vec<u8>, bool, bool);

    fn split(chunks: &[&[u8]], limit: usize) -> Vec<Owned> {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new(limit);
        let mut each = |line: Line<'_>| {
            lines.push((line.text.to_vec(), line.is_whole, line.has_end));
        };
        for chunk in chunks {
            splitter.push(chunk, &mut each);
        }
        splitter.finish(&mut each);
        lines
    }

    fn whole(text: &str) -> Owned {
        (text.into(), true, true)
    }

    #[test]
    fn lines_end_at_lf_and_lose_one_cr() {
        let expected = [whole("a"), whole(""), whole("b\r"), whole("c\rd"), whole("e\r")];
        assert_eq!(split(&[b"a\r\n\nb\r\r\nc\rd\ne\r"], 64), expected);
    }

    #[test]
    fn a_line_that_fills_the_limit_with_its_lf_is_whole() {
        let line = "x".repeat(15);
        assert_eq!(split(&[format!("{line}\nz").as_bytes()], 16), [whole(&line), whole("z")]);
    }

    #[test]
    fn a_longer_one_comes_in_pieces_and_a_rest() {
        let piece = (vec![b'x'; 16], false, false);
        let rest = (Vec::new(), false, true);
        assert_eq!(split(&[&[b'x'; 16], b"\nz\n"], 16), [piece.clone(), rest, whole("z")]);
        assert_eq!(split(&[&[b'x'; 32]], 16), [piece.clone(), piece]);
    }

    #[test]
    fn a_piece_is_handed_on_at_once() {
        let mut pieces = 0_usize;
        LineSplitter::new(16).push(&[b'x'; 160], &mut |_| pieces = pieces.saturating_add(1));
        assert_eq!(pieces, 10);
    }

    #[test]
    fn a_cr_at_the_edge_of_a_piece_waits_for_the_lf() {
        let text = [b"xxxxxxxxxxxxxxx\r".as_slice(), b"\nz"];
        let pieces = [(vec![b'x'; 15], false, false), (Vec::new(), false, true), whole("z")];
        assert_eq!(split(&text, 16), pieces);
    }

    #[test]
    fn any_chunking_gives_the_same_lines() {
        let stream = b"one\r\ntwo\rthree\n\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\rxxx\r\n\rlast\r";
        let expected = split(&[stream], 16);
        for size in 1..stream.len() {
            let chunks: Vec<&[u8]> = stream.chunks(size).collect();
            assert_eq!(split(&chunks, 16), expected, "chunks of {size}");
        }
    }
}
