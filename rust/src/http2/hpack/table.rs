//! The static and the dynamic table (RFC 7541 §2.3 and appendix A).

use std::collections::VecDeque;

/// What an entry counts beside its name and its value.
pub(super) const ENTRY_BYTES: usize = 32;

static STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

// Names that begin with a colon are at its beginning.
const PSEUDO: usize = 14;

/// What a table has of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// All of it, at this index.
    Field(usize),
    /// Its name.
    Name(usize),
    /// Nothing.
    Nothing,
}

#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    name: usize,
}

impl Entry {
    fn field(&self) -> (&[u8], &[u8]) {
        self.text.split_at_checked(self.name).unwrap_or_default()
    }

    fn size(&self) -> usize {
        self.text.len().saturating_add(ENTRY_BYTES)
    }
}

/// A dynamic table behind the static one.
#[derive(Debug)]
pub(super) struct Table {
    // Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, limit }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(limit);
    }

    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        let entry = Entry { text: [name, value].concat().into(), name: name.len() };
        let size = entry.size();
        self.evict(self.limit.saturating_sub(size));
        if size <= self.limit {
            self.size = self.size.saturating_add(size);
            self.entries.push_front(entry);
        }
    }

    fn evict(&mut self, limit: usize) {
        while self.size > limit
            && let Some(entry) = self.entries.pop_back()
        {
            self.size = self.size.saturating_sub(entry.size());
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let index = index.checked_sub(1)?;
        match index.checked_sub(STATIC.len()) {
            None => STATIC.get(index).copied(),
            Some(index) => self.entries.get(index).map(Entry::field),
        }
    }

    pub(super) fn find(&self, name: &[u8], value: &[u8]) -> Found {
        let mut found = Found::Nothing;
        let dynamic = self.entries.iter().map(Entry::field);
        for (index, (known, text)) in (STATIC.len().saturating_add(1)..).zip(dynamic) {
            if known == name {
                if text == value {
                    return Found::Field(index);
                }
                found = Found::Name(index);
            }
        }
        let (start, alike) = match name.first() {
            Some(b':') => (0, STATIC.get(..PSEUDO)),
            _ => (PSEUDO, STATIC.get(PSEUDO..)),
        };
        for (index, (known, text)) in (start.saturating_add(1)..).zip(alike.unwrap_or_default()) {
            if *known == name {
                if *text == value {
                    return Found::Field(index);
                }
                found = if found == Found::Nothing { Found::Name(index) } else { found };
            }
        }
        found
    }
}
