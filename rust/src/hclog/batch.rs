//! Lines on their way from the reader to whoever wants them: many at once, each taken apart already.

use std::collections::VecDeque;

use super::{Level, Parser, Record, Text};
use crate::lines::{Line, LineSplitter};

// Enough for the first line of a Go panic to be among them.
const TAIL_LINES: usize = 40;
const TAIL_LINE_BYTES: usize = 2048;
const TYPICAL_LINE_BYTES: usize = 128;

/// The log stream of one plugin.
#[derive(Debug)]
pub struct LogStream {
    splitter: LineSplitter,
    lines: Lines,
}

#[derive(Debug)]
struct Lines {
    // None where every line is info, whatever it says.
    parser: Option<Parser>,
    // The last lines, oldest first, for error messages.
    tail: VecDeque<Vec<u8>>,
}

impl LogStream {
    /// A stream whose lines are parsed up to `limit` bytes, LF included.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self::with_parser(limit, Some(Parser::new()))
    }

    /// A stream whose lines are not parsed: each is text.
    #[must_use]
    pub fn unparsed(limit: usize) -> Self {
        Self::with_parser(limit, None)
    }

    fn with_parser(limit: usize, parser: Option<Parser>) -> Self {
        let lines = Lines { parser, tail: VecDeque::with_capacity(TAIL_LINES) };
        Self { splitter: LineSplitter::new(limit), lines }
    }

    /// Takes the next bytes, and hands on each record from `least` up with the line it is in.
    ///
    /// `copy` gets each line as Go's host copies it: without the CR of a CR LF, at any level.
    pub fn push(
        &mut self,
        chunk: &[u8],
        least: Level,
        copy: Option<&mut Vec<u8>>,
        each: &mut impl FnMut(&[u8], Record<'_>),
    ) {
        let Self { splitter, lines } = self;
        let mut copy = copy;
        splitter.push(chunk, &mut |line| lines.take(line, least, copy.as_deref_mut(), each));
    }

    /// Hands on the line that the stream ended in, as `push` does.
    pub fn finish(
        &mut self,
        least: Level,
        copy: Option<&mut Vec<u8>>,
        each: &mut impl FnMut(&[u8], Record<'_>),
    ) {
        let Self { splitter, lines } = self;
        let mut copy = copy;
        splitter.finish(&mut |line| lines.take(line, least, copy.as_deref_mut(), each));
    }

    /// The last lines that were not empty, oldest first; long ones cut.
    pub fn tail(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.tail.iter().map(Vec::as_slice)
    }
}

impl Lines {
    #[inline]
    fn take(
        &mut self,
        line: Line<'_>,
        least: Level,
        copy: Option<&mut Vec<u8>>,
        each: &mut impl FnMut(&[u8], Record<'_>),
    ) {
        let text = line.text;
        if let Some(copy) = copy {
            copy.extend_from_slice(text);
            if line.has_end {
                copy.push(b'\n');
            }
        }
        if text.is_empty() {
            return;
        }
        self.remember(text);
        // Also where all are dropped: what follows depends on the panic before it.
        let record = match &mut self.parser {
            Some(parser) if line.is_whole && parser.is_below(text, least) => return,
            Some(parser) if line.is_whole => parser.parse(text),
            // What is no line has no structure.
            _ => Record::text(text, Level::Info),
        };
        if record.level >= least {
            each(text, record);
        }
    }

    fn remember(&mut self, text: &[u8]) {
        let mut last = if self.tail.len() < TAIL_LINES {
            Vec::new()
        } else {
            self.tail.pop_front().unwrap_or_default()
        };
        last.clear();
        last.extend_from_slice(text.get(..TAIL_LINE_BYTES).unwrap_or(text));
        self.tail.push_back(last);
    }
}

/// Records and the bytes that they are in.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The lines as they came, for a copy of the stream; empty unless one is wanted.
    pub copy: Vec<u8>,
    /// How many of the records have been used.
    pub used: usize,
}

// A record as offsets, those of texts from the start of its line.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    length: usize,
    message: Span,
    module: Span,
    timestamp: Option<Span>,
    level: Level,
    is_of_hclog: bool,
    has_fields: bool,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    length: u32,
    is_escaped: bool,
}

impl Span {
    fn of(text: Text<'_>, line: &[u8]) -> Self {
        // A text that is none of the line's bytes is empty; the offset is out of range then.
        let start = text.raw().as_ptr().addr().wrapping_sub(line.as_ptr().addr());
        Self {
            start: u32::try_from(start).unwrap_or(0),
            length: u32::try_from(text.raw().len()).unwrap_or(u32::MAX),
            is_escaped: text.is_escaped(),
        }
    }

    fn text<'a>(&self, line: &'a [u8]) -> Text<'a> {
        let start = self.start as usize;
        let raw = line.get(start..start.wrapping_add(self.length as usize)).unwrap_or_default();
        Text::new(raw, self.is_escaped)
    }
}

impl Batch {
    /// Adds a record and its line.
    #[inline]
    pub fn push(&mut self, line: &[u8], record: Record<'_>) {
        self.entries.push(Entry {
            start: self.bytes.len(),
            length: line.len(),
            message: Span::of(record.message, line),
            module: Span::of(record.module, line),
            timestamp: record.timestamp.map(|text| Span::of(text, line)),
            level: record.level,
            is_of_hclog: record.is_entry,
            has_fields: record.has_fields,
        });
        self.bytes.extend_from_slice(line);
    }

    /// Makes room for the records of so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
        self.entries.reserve(bytes.div_euclid(TYPICAL_LINE_BYTES));
    }

    /// Gives back what was reserved for lines that nobody wants.
    pub fn trim(&mut self) {
        if self.bytes.capacity().wrapping_div(2) > self.bytes.len() {
            self.bytes.shrink_to_fit();
            self.entries.shrink_to_fit();
        }
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How much memory it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let entries = self.entries.len().saturating_mul(size_of::<Entry>());
        self.bytes.len().saturating_add(self.copy.len()).saturating_add(entries)
    }

    /// The line and the record at `index`.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(&[u8], Record<'_>)> {
        let entry = self.entries.get(index)?;
        let line = self.bytes.get(entry.start..entry.start.wrapping_add(entry.length))?;
        let record = Record {
            level: entry.level,
            message: entry.message.text(line),
            module: entry.module.text(line),
            timestamp: entry.timestamp.map(|span| span.text(line)),
            is_entry: entry.is_of_hclog,
            has_fields: entry.has_fields,
        };
        Some((line, record))
    }
}
