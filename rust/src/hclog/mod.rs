//! The log stream of a plugin: which level, module, message and fields a line of its stderr has.
//!
//! The rules are those of go-plugin's host (`client.go` `logStderr`, `log_entry.go` `parseJSON`) with
//! differences in favour of Python: hclog's pretty lines are taken apart, a line without structure is
//! info and not debug, a Python traceback is an error, and a special member that is no string makes
//! its line plain where Go's host panics.

pub mod batch;
pub mod json;
pub mod timestamp;

use memchr::{memchr_iter, memmem};

pub use self::json::Text;
use self::json::{Malformed, Token, Tokens};

/// hclog's levels, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `trace`
    Trace,
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`
    Error,
    /// Above all levels: no line has it.
    Off,
}

impl Level {
    /// All of them, least first.
    pub const ALL: [Self; 6] =
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Off];

    /// hclog's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Off => "off",
        }
    }

    // The level of a line that names it exactly so.
    fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"trace" => Some(Self::Trace),
            b"debug" => Some(Self::Debug),
            b"info" => Some(Self::Info),
            b"warn" => Some(Self::Warn),
            b"error" => Some(Self::Error),
            _ => None,
        }
    }

    // As hclog's LevelFromString reads it.
    fn from_text(text: Text<'_>) -> Option<Self> {
        if !text.is_escaped()
            && let Some(level) = Self::from_name(text.raw())
        {
            return Some(level);
        }
        // Go lower-cases the dotted capital I by its simple mapping, to one letter.
        let name = text.decode().trim().replace('\u{130}', "i").to_lowercase();
        Self::from_name(name.as_bytes())
    }
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its level.
    pub level: Level,
    /// Its message.
    pub message: Text<'a>,
    /// hclog's name of the part of the plugin that wrote it; empty when it names none.
    pub module: Text<'a>,
    /// hclog's `@timestamp` as it is written.
    pub timestamp: Option<Text<'a>>,
    /// Whether the line is an entry of hclog in JSON; its fields are all members but the special ones.
    pub is_entry: bool,
    /// Whether it has fields.
    pub has_fields: bool,
}

impl<'a> Record<'a> {
    /// A line without structure.
    #[must_use]
    pub fn text(line: &'a [u8], level: Level) -> Self {
        Self {
            level,
            message: Text::plain(line),
            module: Text::default(),
            timestamp: None,
            is_entry: false,
            has_fields: false,
        }
    }
}

// A line of which all that can be said by itself has been said.
enum Parsed<'a> {
    Record(Record<'a>),
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traceback {
    // Not in one.
    No,
    // In one: its indented lines, then the line that ends it.
    Yes,
    // In that of an exception group, of which every line is indented.
    Group,
}

/// Reads the lines of one stream. It never fails; what it cannot read is text.
#[derive(Debug)]
pub struct Parser {
    // Whether Go's runtime began to report its end: all that is plain is an error from then on.
    is_after_panic: bool,
    traceback: Traceback,
    second_level: memmem::Finder<'static>,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// A parser at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            is_after_panic: false,
            traceback: Traceback::No,
            second_level: memmem::Finder::new(b"\"@level\""),
        }
    }

    /// Reads a whole line without its end.
    #[inline]
    pub fn parse<'a>(&mut self, line: &'a [u8]) -> Record<'a> {
        if let Parsed::Record(record) = entry(line) {
            return record;
        }
        tagged(line).unwrap_or_else(|| Record::text(line, self.plain_level(line)))
    }

    /// Whether `line` is surely below `least`, told from its first bytes: then it need not be parsed.
    ///
    /// A line that only looks like an entry would be text at info, so `least` must be above that; and
    /// nothing must be under way that makes text an error.
    #[inline]
    #[must_use]
    pub fn is_below(&self, line: &[u8], least: Level) -> bool {
        if least <= Level::Info || self.is_after_panic || self.traceback != Traceback::No {
            return false;
        }
        let Some(rest) = line.strip_prefix(b"{\"@level\":\"") else { return false };
        let Some(name) = rest.split(|byte| *byte == b'"').next() else { return false };
        Level::from_name(name).is_some_and(|level| level < least)
            && self.second_level.find(rest).is_none()
            && !memchr_iter(b'\\', rest).any(|index| rest.get(index.wrapping_add(1)) == Some(&b'u'))
    }

    fn plain_level(&mut self, line: &[u8]) -> Level {
        if line.starts_with(b"panic: ") || line.starts_with(b"fatal error: ") {
            self.is_after_panic = true;
        }
        if line.starts_with(b"Traceback (most recent call last):") {
            self.traceback = Traceback::Yes;
            return Level::Error;
        }
        if line.starts_with(b"  + Exception Group Traceback (most recent call last):") {
            self.traceback = Traceback::Group;
            return Level::Error;
        }
        let is_of_traceback = match (self.traceback, line.first()) {
            (Traceback::No, _) => false,
            (_, Some(b' ' | b'\t')) => true,
            (state, _) => {
                self.traceback = Traceback::No;
                state == Traceback::Yes
            }
        };
        let chains = [
            b"During handling of the above exception, another exception occurred:".as_slice(),
            b"The above exception was the direct cause of the following exception:",
        ];
        if is_of_traceback || self.is_after_panic || chains.contains(&line) {
            Level::Error
        } else {
            Level::Info
        }
    }
}

// The special members of an entry, the last where there are several.
#[derive(Default)]
struct Specials<'a> {
    level: Special<'a>,
    message: Special<'a>,
    timestamp: Special<'a>,
    module: Special<'a>,
    has_fields: bool,
}

#[derive(Clone, Copy, Default)]
enum Special<'a> {
    #[default]
    Absent,
    NoString,
    String(Text<'a>),
}

/// Which member of an entry hclog gives a meaning of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// `@level`
    Level,
    /// `@message`
    Message,
    /// `@timestamp`
    Timestamp,
    /// `@module`
    Module,
    /// Any other: a field.
    Field,
}

impl Member {
    /// What the member of this name is.
    #[inline]
    #[must_use]
    pub fn of(key: Text<'_>) -> Self {
        match key.raw() {
            _ if key.is_escaped() => Self::from_name(key.decode().as_bytes()),
            raw @ [b'@', ..] => Self::from_name(raw),
            _ => Self::Field,
        }
    }

    #[inline]
    fn from_name(name: &[u8]) -> Self {
        match name {
            b"@level" => Self::Level,
            b"@message" => Self::Message,
            b"@timestamp" => Self::Timestamp,
            b"@module" => Self::Module,
            _ => Self::Field,
        }
    }
}

#[inline]
fn entry(line: &[u8]) -> Parsed<'_> {
    let start = line.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    if start.and_then(|start| line.get(start)) != Some(&b'{') {
        // Of the other JSON texts only null is one to Go, and has no level.
        let mut tokens = Tokens::new(line);
        let is_null = tokens.next() == Ok(Some(Token::Null)) && tokens.next() == Ok(None);
        return if is_null { unknown(line) } else { Parsed::Plain };
    }
    let Ok(specials) = specials(line) else { return Parsed::Plain };
    let message = match specials.message {
        Special::Absent => Text::default(),
        Special::String(text) => text,
        Special::NoString => return Parsed::Plain,
    };
    let timestamp = match specials.timestamp {
        Special::Absent => None,
        Special::String(text) if timestamp::is_valid(text.decode().as_bytes()) => Some(text),
        _ => return Parsed::Plain,
    };
    let level = match specials.level {
        Special::Absent => None,
        Special::String(name) => Level::from_text(name),
        Special::NoString => return Parsed::Plain,
    };
    let Some(level) = level else { return unknown(line) };
    let (module, has_fields) = match specials.module {
        Special::String(text) => (text, specials.has_fields),
        Special::NoString => (Text::default(), true),
        Special::Absent => (Text::default(), specials.has_fields),
    };
    Parsed::Record(Record { level, message, module, timestamp, is_entry: true, has_fields })
}

// JSON, but no entry: text that no state of the stream makes an error.
fn unknown(line: &[u8]) -> Parsed<'_> {
    Parsed::Record(Record::text(line, Level::Info))
}

#[inline]
fn specials(line: &[u8]) -> Result<Specials<'_>, Malformed> {
    let mut specials = Specials::default();
    let mut tokens = Tokens::new(line);
    tokens.next()?;
    while let Some(key) = tokens.next_member()? {
        let start = tokens.position();
        let kind = tokens.skip_value()?;
        let special = match Member::of(key) {
            Member::Level => &mut specials.level,
            Member::Message => &mut specials.message,
            Member::Timestamp => &mut specials.timestamp,
            Member::Module => &mut specials.module,
            Member::Field => {
                specials.has_fields = true;
                continue;
            }
        };
        *special = tokens.skipped_string(start, kind).map_or(Special::NoString, Special::String);
    }
    if tokens.next()?.is_some() { Err(Malformed) } else { Ok(specials) }
}

// `[LEVEL] text`, and hclog's `TIMESTAMP [LEVEL] module: text` and `[LEVEL] module: text`.
fn tagged(line: &[u8]) -> Option<Record<'_>> {
    let has_time = line.first()?.is_ascii_digit();
    let tag = if has_time {
        let end = line.iter().position(u8::is_ascii_whitespace)?;
        line.get(end..)?.trim_ascii_start()
    } else {
        line
    };
    let (level, rest) = level_tag(tag)?;
    let text = rest.trim_ascii_start();
    let is_spaced = text.len() < rest.len();
    let pretty = module_tag(text).filter(|_| is_spaced);
    let (module, message) = match pretty {
        Some((module, message)) => (Text::plain(module), message),
        None if has_time && is_spaced => (Text::default(), text),
        None if has_time => return None,
        None => (Text::default(), line),
    };
    Some(Record { module, ..Record::text(message, level) })
}

fn level_tag(text: &[u8]) -> Option<(Level, &[u8])> {
    let (name, rest) = text
        .strip_prefix(b"[")?
        .split_at_checked(text.iter().position(|byte| *byte == b']')?.checked_sub(1)?)?;
    let level = match name {
        b"TRACE" => Level::Trace,
        b"DEBUG" => Level::Debug,
        b"INFO" => Level::Info,
        b"WARN" => Level::Warn,
        b"ERROR" => Level::Error,
        _ => return None,
    };
    Some((level, rest.strip_prefix(b"]")?))
}

fn module_tag(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_./-".contains(byte);
    let end = text.iter().position(|byte| !is_of_name(byte)).filter(|end| *end > 0)?;
    let (module, rest) = text.split_at_checked(end)?;
    let rest = rest.strip_prefix(b":")?;
    let message = rest.trim_ascii_start();
    (message.len() < rest.len()).then_some((module, message))
}
