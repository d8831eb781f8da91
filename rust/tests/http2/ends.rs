//! A connection with what it has told, and frames made by hand.

use pyplugin_rust::http2::{
    Config, Connection, ConnectionError, END_HEADERS, END_STREAM, Encoder, ErrorCode, Event,
    GOAWAY, HEADER_BYTES, HEADERS, Header, Headers, PREFACE, SETTINGS, Side, StreamId,
};

pub(crate) const REQUEST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":path", "/kv/Get"), ("te", "trailers")];
pub(crate) const RESPONSE: &[(&str, &str)] = &[(":status", "200"), ("a", "b")];
pub(crate) const TRAILERS: &[(&str, &str)] = &[("grpc-status", "0")];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Request(StreamId),
    Response(StreamId),
    Trailers(StreamId),
    Data(StreamId, Vec<u8>),
    Ended(StreamId),
    Reset(StreamId, u32, bool),
    Writable(StreamId),
    Settings,
    Pong([u8; 8]),
    GoAway(StreamId, u32),
    Failed(ConnectionError),
}

pub(crate) struct End {
    pub(crate) connection: Connection,
    pub(crate) lists: Vec<Headers>,
}

impl End {
    // Its own preface and SETTINGS are taken out, and those of the peer were received.
    pub(crate) fn new(side: Side) -> Self {
        Self::with(side, Config::default())
    }

    pub(crate) fn with(side: Side, config: Config) -> Self {
        let mut end = Self::raw(side, config);
        end.drain();
        if side == Side::Server {
            assert_eq!(end.receive(PREFACE), []);
        }
        assert_eq!(end.receive(&settings(&[])), [Seen::Settings]);
        assert_eq!(end.frames().len(), 1);
        end
    }

    pub(crate) fn raw(side: Side, config: Config) -> Self {
        Self { connection: Connection::new(side, config), lists: Vec::new() }
    }

    // What it tells of these bytes; once it has failed, nothing.
    pub(crate) fn receive(&mut self, mut bytes: &[u8]) -> Vec<Seen> {
        let mut events = Vec::new();
        while let Ok(Some(event)) = self.connection.receive(&mut bytes) {
            events.push(match event {
                Event::Request(id, list) => self.note(Seen::Request(id), list),
                Event::Response(id, list) => self.note(Seen::Response(id), list),
                Event::Trailers(id, list) => self.note(Seen::Trailers(id), list),
                Event::Data(id, bytes) => Seen::Data(id, bytes.to_vec()),
                Event::Ended(id) => Seen::Ended(id),
                Event::Reset { stream, code, by_peer } => Seen::Reset(stream, code, by_peer),
                Event::Writable(id) => Seen::Writable(id),
                Event::Settings => Seen::Settings,
                Event::Pong(payload) => Seen::Pong(payload),
                Event::GoAway { last_stream, code } => Seen::GoAway(last_stream, code),
                Event::Failed(error) => Seen::Failed(error),
            });
        }
        events
    }

    fn note(&mut self, seen: Seen, list: Headers) -> Seen {
        self.lists.push(list);
        seen
    }

    pub(crate) fn drain(&mut self) -> Vec<u8> {
        self.connection.take_out(<[u8]>::to_vec)
    }

    pub(crate) fn frames(&mut self) -> Vec<(Header, Vec<u8>)> {
        frames(&self.drain())
    }

    pub(crate) fn headers(&mut self, id: StreamId, fields: &[(&str, &str)], is_last: bool) {
        self.connection.send_headers(id, pairs(fields), is_last).unwrap();
    }

    // Opens a stream.
    pub(crate) fn open(&mut self, is_last: bool) -> StreamId {
        let id = self.connection.next_stream_id().unwrap();
        self.headers(id, REQUEST, is_last);
        id
    }
}

pub(crate) fn pairs<'a>(
    fields: &'a [(&'a str, &'a str)],
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    bytes = bytes.strip_prefix(PREFACE).unwrap_or(bytes);
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let header = Header::decode(bytes[..HEADER_BYTES].try_into().unwrap());
        let (frame, rest) = bytes.split_at(HEADER_BYTES + header.length as usize);
        frames.push((header, frame[HEADER_BYTES..].to_vec()));
        bytes = rest;
    }
    frames
}

pub(crate) fn frame(kind: u8, flags: u8, stream: StreamId, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&Header { length, kind, flags, stream }.encode()[..], payload].concat()
}

pub(crate) fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (key, value) in entries {
        payload.extend(key.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

// A block that refers to none before it.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::default().encode(pairs(fields), &mut out);
    out
}

pub(crate) fn headers(flags: u8, stream: StreamId, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

pub(crate) fn request(stream: StreamId) -> Vec<u8> {
    headers(0, stream, REQUEST)
}

pub(crate) fn whole_request(stream: StreamId) -> Vec<u8> {
    headers(END_STREAM, stream, REQUEST)
}

pub(crate) fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

// The code of the GOAWAY, or of the RST_STREAM, that is all there is to send.
pub(crate) fn told(end: &mut End, kind: u8, stream: StreamId) -> u32 {
    let frames = end.frames();
    let (header, payload) = frames.last().unwrap();
    assert_eq!((header.kind, header.stream), (kind, stream), "{frames:?}");
    number(if kind == GOAWAY { &payload[4..] } else { payload })
}

pub(crate) fn failed(events: &[Seen]) -> ErrorCode {
    let Some(Seen::Failed(error)) = events.last() else { panic!("{events:?}") };
    error.code
}
