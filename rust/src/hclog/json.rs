//! JSON as Go's decoder takes it: the tokens of one line, without recursion or copies.
//!
//! What Go refuses is refused: control characters in strings, numbers beyond a float, nesting deeper
//! than 10,000. Bytes that are no UTF-8 are taken, and replaced when a text is decoded.

use std::borrow::Cow;

use memchr::memchr;

// encoding/json, scanner.go maxNestingDepth
const DEEPEST: usize = 10_000;

// A number of fewer digits and without an exponent is no infinity as a float.
const MOST_SAFE_DIGITS: usize = 300;

/// A line that is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A text as it stands in a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Text<'a> {
    raw: &'a [u8],
    is_escaped: bool,
}

impl<'a> Text<'a> {
    /// Bytes that stand for themselves.
    #[must_use]
    pub fn plain(raw: &'a [u8]) -> Self {
        Self { raw, is_escaped: false }
    }

    /// Bytes in which JSON's escapes may stand.
    #[must_use]
    pub fn new(raw: &'a [u8], is_escaped: bool) -> Self {
        Self { raw, is_escaped }
    }

    /// The bytes in the line, JSON's escapes unresolved.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether the bytes hold JSON escapes.
    #[must_use]
    pub fn is_escaped(&self) -> bool {
        self.is_escaped
    }

    /// The text itself. Each byte that is no UTF-8 and each lone surrogate is U+FFFD, as in Go.
    #[must_use]
    pub fn decode(&self) -> Cow<'a, str> {
        if self.is_escaped {
            return Cow::Owned(unescape(self.raw));
        }
        if let Ok(text) = std::str::from_utf8(self.raw) {
            return Cow::Borrowed(text);
        }
        let mut text = String::with_capacity(self.raw.len());
        push_lossy(&mut text, self.raw);
        Cow::Owned(text)
    }

    /// Whether this is `name`, however it is escaped.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        if self.is_escaped { self.decode() == name } else { self.raw == name.as_bytes() }
    }
}

/// A piece of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// `{`
    ObjectStart,
    /// `}`
    ObjectEnd,
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// The name of a member; its value follows.
    Key(Text<'a>),
    /// A string.
    String(Text<'a>),
    /// A number as it is written.
    Number(&'a [u8]),
    /// `true` or `false`
    Bool(bool),
    /// `null`
    Null,
}

/// What a value was that has been skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Skipped {
    /// A string that stands for itself.
    String,
    /// A string with escapes.
    EscapedString,
    /// No string.
    #[default]
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
}

/// Reads a JSON text token by token.
#[derive(Debug)]
pub struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
    expected: Expected,
    nesting: Nesting,
    quotes: Option<Quotes>,
}

impl<'a> Tokens<'a> {
    /// The tokens of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            expected: Expected::Value,
            nesting: Nesting::default(),
            quotes: Quotes::of(bytes),
        }
    }

    /// In how many objects and arrays the next token stands.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.nesting.depth
    }

    /// Where in the bytes the next token is looked for.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether the next token is a string.
    #[must_use]
    pub fn is_at_string(&self) -> bool {
        self.rest().trim_ascii_start().first() == Some(&b'"')
    }

    /// The next token; `None` when the text is complete.
    ///
    /// # Errors
    /// [`Malformed`] where the bytes are not JSON. Tokens before that place have been returned.
    #[inline]
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator could not tell the two ends apart"
    )]
    pub fn next(&mut self) -> Result<Option<Token<'a>>, Malformed> {
        loop {
            let Some(byte) = self.peek_past_space() else {
                let is_complete = self.expected == Expected::CommaOrEnd && self.nesting.depth == 0;
                return if is_complete { Ok(None) } else { Err(Malformed) };
            };
            match (self.expected, byte) {
                (Expected::Key | Expected::KeyOrEnd, b'"') => {
                    return Ok(Some(Token::Key(self.key()?)));
                }
                (Expected::CommaOrEnd, b',') if self.nesting.depth > 0 => {
                    self.skip(1);
                    self.expected =
                        if self.nesting.is_object() { Expected::Key } else { Expected::Value };
                }
                (Expected::CommaOrEnd, b'}' | b']')
                | (Expected::KeyOrEnd, b'}')
                | (Expected::ValueOrEnd, b']') => {
                    let is_object = byte == b'}';
                    if self.nesting.depth == 0 || self.nesting.is_object() != is_object {
                        return Err(Malformed);
                    }
                    self.skip(1);
                    self.nesting.pop();
                    self.expected = Expected::CommaOrEnd;
                    let end = if is_object { Token::ObjectEnd } else { Token::ArrayEnd };
                    return Ok(Some(end));
                }
                (Expected::Value | Expected::ValueOrEnd, _) => return self.value(byte).map(Some),
                _ => return Err(Malformed),
            }
        }
    }

    /// Goes to the value of the next member of the object that was begun, and returns the member's
    /// name; `None` at the end of the object. It is `next` for the many lines that are flat objects.
    ///
    /// # Errors
    /// [`Malformed`] where the bytes are not JSON.
    #[inline]
    pub fn next_member(&mut self) -> Result<Option<Text<'a>>, Malformed> {
        match (self.expected, self.peek_past_space()) {
            (Expected::CommaOrEnd, Some(b',')) => {
                self.skip(1);
                if self.peek_past_space() != Some(b'"') {
                    return Err(Malformed);
                }
                self.key().map(Some)
            }
            (Expected::KeyOrEnd, Some(b'"')) => self.key().map(Some),
            (Expected::CommaOrEnd | Expected::KeyOrEnd, Some(b'}')) => {
                self.skip(1);
                self.nesting.pop();
                self.expected = Expected::CommaOrEnd;
                Ok(None)
            }
            _ => Err(Malformed),
        }
    }

    /// Skips the value that comes next, whole, and tells what it was.
    ///
    /// # Errors
    /// [`Malformed`] where the bytes are not JSON.
    #[inline]
    pub fn skip_value(&mut self) -> Result<Skipped, Malformed> {
        match self.peek_past_space() {
            Some(b'"') => {
                self.expected = Expected::CommaOrEnd;
                let is_escaped = self.string()?;
                Ok(if is_escaped { Skipped::EscapedString } else { Skipped::String })
            }
            Some(b'-' | b'0'..=b'9') => {
                self.expected = Expected::CommaOrEnd;
                self.number()?;
                Ok(Skipped::Other)
            }
            _ => self.skip_container(),
        }
    }

    /// The text of the string that was skipped last.
    #[must_use]
    pub fn skipped_string(&self, start: usize, kind: Skipped) -> Option<Text<'a>> {
        if kind == Skipped::Other {
            return None;
        }
        let value = self.bytes.get(start..self.at)?.trim_ascii();
        let raw = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        Some(Text::new(raw, kind == Skipped::EscapedString))
    }

    fn skip_container(&mut self) -> Result<Skipped, Malformed> {
        let depth = self.nesting.depth;
        self.next()?;
        while self.nesting.depth > depth {
            self.next()?;
        }
        Ok(Skipped::Other)
    }

    // The name at the position; the position is at its value then.
    #[inline]
    fn key(&mut self) -> Result<Text<'a>, Malformed> {
        let start = self.at.wrapping_add(1);
        let is_escaped = self.string()?;
        let raw = self.bytes.get(start..self.at.wrapping_sub(1)).unwrap_or_default();
        if self.peek_past_space() != Some(b':') {
            return Err(Malformed);
        }
        self.skip(1);
        self.expected = Expected::Value;
        Ok(Text { raw, is_escaped })
    }

    #[inline]
    fn value(&mut self, byte: u8) -> Result<Token<'a>, Malformed> {
        self.expected = Expected::CommaOrEnd;
        Ok(match byte {
            b'"' => {
                let start = self.at.wrapping_add(1);
                let is_escaped = self.string()?;
                let raw = self.bytes.get(start..self.at.wrapping_sub(1)).unwrap_or_default();
                Token::String(Text { raw, is_escaped })
            }
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                self.number()?;
                Token::Number(self.bytes.get(start..self.at).unwrap_or_default())
            }
            b'{' => {
                self.open(true, Expected::KeyOrEnd)?;
                Token::ObjectStart
            }
            b'[' => {
                self.open(false, Expected::ValueOrEnd)?;
                Token::ArrayStart
            }
            b't' => self.word(b"true", Token::Bool(true))?,
            b'f' => self.word(b"false", Token::Bool(false))?,
            b'n' => self.word(b"null", Token::Null)?,
            _ => return Err(Malformed),
        })
    }

    fn open(&mut self, is_object: bool, expected: Expected) -> Result<(), Malformed> {
        if self.nesting.depth == DEEPEST {
            return Err(Malformed);
        }
        self.skip(1);
        self.nesting.push(is_object);
        self.expected = expected;
        Ok(())
    }

    fn word(&mut self, word: &[u8], token: Token<'a>) -> Result<Token<'a>, Malformed> {
        if !self.rest().starts_with(word) {
            return Err(Malformed);
        }
        self.skip(word.len());
        Ok(token)
    }

    fn number(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.skip(1);
        }
        if self.peek() == Some(b'0') {
            self.skip(1);
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.skip(1);
            self.digits()?;
        }
        let mut may_overflow = self.at.wrapping_sub(start) > MOST_SAFE_DIGITS;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            may_overflow = true;
            self.skip(1);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.skip(1);
            }
            self.digits()?;
        }
        let number = self.bytes.get(start..self.at).unwrap_or_default();
        if may_overflow && !to_float(number).is_finite() { Err(Malformed) } else { Ok(()) }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.skip(count);
        if count == 0 { Err(Malformed) } else { Ok(()) }
    }

    // Skips the string at the position, and tells whether there are escapes in it.
    #[inline]
    fn string(&mut self) -> Result<bool, Malformed> {
        self.skip(1);
        if let Some(quotes) = &self.quotes {
            self.at = quotes.next(self.at).ok_or(Malformed)?.wrapping_add(1);
            return Ok(false);
        }
        let mut is_escaped = false;
        loop {
            self.skip(ordinary(self.rest()));
            match self.peek() {
                Some(b'"') => {
                    self.skip(1);
                    return Ok(is_escaped);
                }
                Some(b'\\') => {
                    is_escaped = true;
                    match self.rest() {
                        [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {
                            self.skip(2);
                        }
                        [_, b'u', digits @ ..] if four_hex(digits).is_some() => self.skip(6),
                        _ => return Err(Malformed),
                    }
                }
                _ => return Err(Malformed),
            }
        }
    }

    // The next byte that is no white space; the position is at it then.
    #[inline]
    fn peek_past_space(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.skip(1),
                byte => return byte,
            }
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn skip(&mut self, count: usize) {
        self.at = self.at.wrapping_add(count);
    }
}

// Which of the open containers are objects, a bit each; only deep ones need memory.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    // The innermost up to 64, the last of them in the lowest bit.
    bits: u64,
    outer: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.bits);
        }
        self.depth = self.depth.wrapping_add(1);
        self.bits = self.bits << 1 | u64::from(is_object);
    }

    fn pop(&mut self) {
        self.depth = self.depth.wrapping_sub(1);
        self.bits >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.bits = self.outer.pop().unwrap_or(0);
        }
    }

    fn is_object(&self) -> bool {
        self.bits & 1 == 1
    }
}

/// The value of a number token.
#[must_use]
pub fn to_float(number: &[u8]) -> f64 {
    std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const TOPS: u64 = u64::from_le_bytes([0x80; 8]);

// The top bit of each byte of `word` that is `byte`, and perhaps of bytes above such a one.
#[inline]
fn marks_of(byte: u8, word: u64) -> u64 {
    let differences = word ^ ONES.wrapping_mul(u64::from(byte));
    differences.wrapping_sub(ONES) & !differences & TOPS
}

// As `marks_of`, for control characters.
#[inline]
fn marks_of_controls(word: u64) -> u64 {
    word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word & TOPS
}

/// How many bytes at the start of `bytes` are neither `"` nor `\` nor a control character.
#[inline]
pub(crate) fn ordinary(bytes: &[u8]) -> usize {
    let mut count: usize = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let marks = marks_of(b'"', word) | marks_of(b'\\', word) | marks_of_controls(word);
        if marks != 0 {
            // The lowest mark is right.
            return count.wrapping_add(marks.trailing_zeros() as usize / 8);
        }
        count = count.wrapping_add(8);
    }
    let is_special = |byte: &u8| *byte < b' ' || *byte == b'"' || *byte == b'\\';
    count.wrapping_add(rest.iter().position(is_special).unwrap_or(rest.len()))
}

// Where the quotes of a short line are, a bit a byte: found eight at a time beforehand, they need no
// loop for each of the many short strings of an entry.
#[derive(Debug)]
struct Quotes([u64; 16]);

impl Quotes {
    // Nothing for a line that is too long, or in which a quote may be escaped or a string is wrong.
    #[inline]
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut map = [0; 16];
        if bytes.len() >= 16 * 64 {
            return None;
        }
        let mut special = 0;
        let (blocks, rest) = bytes.as_chunks::<64>();
        let mut last = [b' '; 64];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        for (block, bits) in blocks.iter().chain([&last]).zip(&mut map) {
            // Without branches both are done for sixteen bytes at a time.
            let is_special = |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'\\');
            special |= block.iter().fold(0, |special, byte| special | is_special(*byte));
            let flags = block.map(|byte| u8::from(byte == b'"'));
            let (words, _) = flags.as_chunks::<8>();
            *bits = words.iter().rev().fold(0, |bits, word| bits << 8 | gather(*word));
        }
        (special == 0).then_some(Self(map))
    }

    // The first at `start` or after it.
    #[inline]
    fn next(&self, start: usize) -> Option<usize> {
        let mut block = start / 64;
        let mut bits = self.0.get(block)? & (u64::MAX << (start % 64));
        while bits == 0 {
            block = block.wrapping_add(1);
            bits = *self.0.get(block)?;
        }
        Some(block.wrapping_mul(64).wrapping_add(bits.trailing_zeros() as usize))
    }
}

// Eight bytes, each 0 or 1, as a bit each.
#[inline]
fn gather(flags: [u8; 8]) -> u64 {
    u64::from_le_bytes(flags).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

fn four_hex(digits: &[u8]) -> Option<u32> {
    let (digits, _) = digits.split_first_chunk::<4>()?;
    digits
        .iter()
        .try_fold(0_u32, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

fn unescape(raw: &[u8]) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) =
        memchr(b'\\', rest).and_then(|index| rest.split_at_checked(index))
    {
        push_lossy(&mut text, plain);
        let (character, after) = match escape {
            [_, b'u', digits @ ..] => unescape_unit(digits),
            [_, short, after @ ..] => (
                match short {
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    other => char::from(*other),
                },
                after,
            ),
            _ => break,
        };
        text.push(character);
        rest = after;
    }
    push_lossy(&mut text, rest);
    text
}

// The character that begins with the four digits, and what comes after it.
fn unescape_unit(digits: &[u8]) -> (char, &[u8]) {
    let first = four_hex(digits).unwrap_or(0xfffd);
    let after = digits.get(4..).unwrap_or_default();
    if let (0xd800..=0xdbff, [b'\\', b'u', more @ ..]) = (first, after)
        && let Some(second @ 0xdc00..=0xdfff) = four_hex(more)
    {
        let character = 0x1_0000_u32.wrapping_add((first & 0x3ff) << 10 | second & 0x3ff);
        return (
            char::from_u32(character).unwrap_or(char::REPLACEMENT_CHARACTER),
            more.get(4..).unwrap_or_default(),
        );
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), after)
}
