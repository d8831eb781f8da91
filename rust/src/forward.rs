//! Log lines written anew to a descriptor, without anybody else's help.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::time::SystemTime;

use memchr::{memchr, memmem};

use crate::hclog::json::{Text, Token, Tokens, ordinary};
use crate::hclog::{Member, Record, timestamp};

// What a pipe or a socket that can be written to takes without blocking (POSIX: PIPE_BUF).
#[cfg(unix)]
const SLICE_BYTES: usize = 4096;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// hclog's JSON.
    Hclog,
    /// `key=value` pairs.
    Logfmt,
    /// As they came.
    Verbatim,
}

/// Writes records of one plugin in one format.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    // `"plugin":"name"` for JSON, ` plugin=name` for logfmt.
    plugin: String,
    own_plugin: memmem::Finder<'static>,
}

impl Encoder {
    /// An encoder for the plugin of this name.
    #[must_use]
    pub fn new(format: Format, plugin: &str) -> Self {
        let mut text = Vec::new();
        if format == Format::Hclog {
            text.extend_from_slice(b"\"plugin\":");
            push_json(&mut text, plugin);
        } else {
            push_pair(&mut text, "plugin", plugin);
        }
        Self {
            format,
            plugin: String::from_utf8_lossy(&text).into_owned(),
            own_plugin: memmem::Finder::new(b"\"plugin\""),
        }
    }

    /// Adds one line to `out`. `now` is the time of a line that tells none.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, line: &[u8], record: &Record<'_>, now: SystemTime) {
        match self.format {
            Format::Hclog if record.is_entry => self.write_entry(out, line),
            Format::Hclog => self.write_text(out, record, now),
            Format::Logfmt => self.write_logfmt(out, line, record, now),
            Format::Verbatim => out.extend_from_slice(line),
        }
        out.push(b'\n');
    }

    // The plugin's own object with one more member.
    fn write_entry(&self, out: &mut Vec<u8>, line: &[u8]) {
        let line = line.trim_ascii();
        let is_simple = std::str::from_utf8(line).is_ok() && !self.has_plugin(line);
        if is_simple && let Some(members) = line.strip_suffix(b"}") {
            out.extend_from_slice(members);
            // An entry has a level, so there is a member before this one.
            out.push(b',');
            out.extend_from_slice(self.plugin.as_bytes());
            out.push(b'}');
            return;
        }
        out.push(b'{');
        each_member(line, |key, value, tokens| {
            if !key.is("plugin") {
                push_json(out, &key.decode());
                out.push(b':');
                push_value(out, value, tokens);
                out.push(b',');
            }
        });
        out.extend_from_slice(self.plugin.as_bytes());
        out.push(b'}');
    }

    // Whether an entry has a member `plugin` itself, perhaps spelt with escapes.
    fn has_plugin(&self, line: &[u8]) -> bool {
        if self.own_plugin.find(line).is_none() && memchr(b'\\', line).is_none() {
            return false;
        }
        let mut has = false;
        each_member(line, |key, _, _| has |= key.is("plugin"));
        has
    }

    fn write_text(&self, out: &mut Vec<u8>, record: &Record<'_>, now: SystemTime) {
        out.extend_from_slice(b"{\"@level\":\"");
        out.extend_from_slice(record.level.name().as_bytes());
        out.extend_from_slice(b"\",\"@message\":");
        push_json(out, &record.message.decode());
        if !record.module.raw().is_empty() {
            out.extend_from_slice(b",\"@module\":");
            push_json(out, &record.module.decode());
        }
        out.extend_from_slice(b",\"@timestamp\":\"");
        out.extend_from_slice(&timestamp::format(now));
        out.extend_from_slice(b"\",");
        out.extend_from_slice(self.plugin.as_bytes());
        out.push(b'}');
    }

    fn write_logfmt(&self, out: &mut Vec<u8>, line: &[u8], record: &Record<'_>, now: SystemTime) {
        out.extend_from_slice(b"time=");
        match record.timestamp {
            Some(text) => out.extend_from_slice(text.decode().as_bytes()),
            None => out.extend_from_slice(&timestamp::format(now)),
        }
        out.extend_from_slice(b" level=");
        out.extend_from_slice(record.level.name().as_bytes());
        if !record.module.raw().is_empty() {
            out.push(b' ');
            push_pair(out, "module", &record.module.decode());
        }
        out.push(b' ');
        out.extend_from_slice(self.plugin.as_bytes());
        out.push(b' ');
        push_pair(out, "msg", &record.message.decode());
        if !record.is_entry {
            return;
        }
        each_member(line, |key, value, tokens| {
            let is_module = matches!(value, Token::String(_)) && Member::of(key) == Member::Module;
            if is_module
                || key.is("plugin")
                || matches!(Member::of(key), Member::Level | Member::Message | Member::Timestamp)
            {
                return;
            }
            out.push(b' ');
            match value {
                Token::String(text) => push_pair(out, &key.decode(), &text.decode()),
                value => {
                    let mut text = Vec::new();
                    push_value(&mut text, value, tokens);
                    push_pair(out, &key.decode(), &String::from_utf8_lossy(&text));
                }
            }
        });
    }
}

// Calls `each` with every member of an object; `each` reads the rest of a value that is no scalar.
fn each_member<'a>(line: &'a [u8], mut each: impl FnMut(Text<'a>, Token<'a>, &mut Tokens<'a>)) {
    let mut tokens = Tokens::new(line);
    // The line was parsed before: it has no error.
    while let Ok(Some(token)) = tokens.next() {
        if let (1, Token::Key(key)) = (tokens.depth(), token)
            && let Ok(Some(value)) = tokens.next()
        {
            each(key, value, &mut tokens);
        }
    }
}

// Writes the value that begins with `first`.
fn push_value<'a>(out: &mut Vec<u8>, first: Token<'a>, tokens: &mut Tokens<'a>) {
    let is_container = matches!(first, Token::ObjectStart | Token::ArrayStart);
    let outside = tokens.depth().saturating_sub(usize::from(is_container));
    let mut next = Some(first);
    let mut needs_comma = false;
    while let Some(token) = next {
        if needs_comma && !matches!(token, Token::ObjectEnd | Token::ArrayEnd) {
            out.push(b',');
        }
        needs_comma = true;
        match token {
            Token::ObjectStart => out.push(b'{'),
            Token::ObjectEnd => out.push(b'}'),
            Token::ArrayStart => out.push(b'['),
            Token::ArrayEnd => out.push(b']'),
            Token::Key(text) => {
                push_json(out, &text.decode());
                out.push(b':');
            }
            Token::String(text) => push_json(out, &text.decode()),
            Token::Number(number) => out.extend_from_slice(number),
            Token::Bool(true) => out.extend_from_slice(b"true"),
            Token::Bool(false) => out.extend_from_slice(b"false"),
            Token::Null => out.extend_from_slice(b"null"),
        }
        if matches!(token, Token::ObjectStart | Token::ArrayStart | Token::Key(_)) {
            needs_comma = false;
        }
        next = if tokens.depth() > outside { tokens.next().ok().flatten() } else { None };
    }
}

fn push_json(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some((plain, [byte, after @ ..])) = rest.split_at_checked(ordinary(rest)) {
        out.extend_from_slice(plain);
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

// What logfmt cannot have in a key becomes `_`; a value that needs quotes has them.
fn push_pair(out: &mut Vec<u8>, key: &str, value: &str) {
    let is_bare = |byte: u8| byte > b' ' && byte != b'"' && byte != b'=' && byte != 0x7f;
    if key.is_empty() {
        out.push(b'_');
    }
    out.extend(key.bytes().map(|byte| if is_bare(byte) { byte } else { b'_' }));
    out.push(b'=');
    if !value.is_empty() && value.bytes().all(|byte| is_bare(byte) && byte != b'\\') {
        out.extend_from_slice(value.as_bytes());
    } else {
        push_json(out, value);
    }
}

/// The descriptor that lines are forwarded to, by one plugin or by several.
#[derive(Debug)]
pub struct Target {
    file: File,
    // What was to be written and could not yet be, from `written` on.
    pending: Vec<u8>,
    written: usize,
    // Whether a write could block for as long as a reader likes.
    may_block: bool,
    // What the system said when its other end was gone: nothing will ever be read.
    dead: Option<i32>,
}

impl Target {
    /// Writes to `file`, whatever it is: it never waits for the reader of a pipe or a socket.
    #[must_use]
    pub fn new(file: File) -> Self {
        let may_block = may_block(&file);
        Self { file, pending: Vec::new(), written: 0, may_block, dead: None }
    }

    /// The descriptor.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether all that was sent has been written.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Writes `bytes`, or keeps what cannot be written yet: `flush` comes first then.
    ///
    /// # Errors
    /// What the system says; `bytes` are lost, and so is whatever was kept.
    pub fn send(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if let Some(code) = self.dead {
            return Err(io::Error::from_raw_os_error(code));
        }
        if self.pending.is_empty() {
            std::mem::swap(&mut self.pending, bytes);
        } else {
            self.pending.append(bytes);
        }
        self.flush()
    }

    /// Writes as much as can be written now of what was kept.
    ///
    /// # Errors
    /// As for `send`.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            let size = if self.may_block { allowed(&self.file, rest.len()) } else { rest.len() };
            let rest = rest.get(..size).unwrap_or(rest);
            if rest.is_empty() {
                return Ok(());
            }
            match self.file.write(rest) {
                Ok(count) => self.written = self.written.saturating_add(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() == ErrorKind::BrokenPipe {
                        self.dead = error.raw_os_error();
                    }
                    self.clear();
                    return Err(error);
                }
            }
        }
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.written = 0;
    }
}

#[cfg(unix)]
fn may_block(file: &File) -> bool {
    use std::io::IsTerminal;
    use std::os::unix::fs::FileTypeExt;

    let kind = file.metadata().map(|metadata| metadata.file_type());
    let waits = kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket()) || file.is_terminal();
    let is_blocking = rustix::fs::fcntl_getfl(file)
        .is_ok_and(|flags| !flags.contains(rustix::fs::OFlags::NONBLOCK));
    waits && is_blocking
}

// How many of `wanted` bytes a write takes without blocking.
#[cfg(unix)]
fn allowed(file: &File, wanted: usize) -> usize {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut descriptors = [PollFd::new(file, PollFlags::OUT)];
    match poll(&mut descriptors, Some(&Timespec::default())) {
        Ok(0) => 0,
        _ => wanted.min(SLICE_BYTES),
    }
}

// Each plugin has a thread of its own there, which may wait.
#[cfg(not(unix))]
fn may_block(_: &File) -> bool {
    false
}

#[cfg(not(unix))]
fn allowed(_: &File, wanted: usize) -> usize {
    wanted
}
