//! A session with what it has told, and two of them joined.

use std::time::Duration;

use pyplugin_rust::yamux::{
    Config, Event, GoAway, HEADER_BYTES, Header, Kind, Session, SessionError, Side, StreamId,
};

pub(crate) const NOW: Duration = Duration::from_secs(1000);
pub(crate) const KIB: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Opened(StreamId),
    Acked(StreamId),
    Data(StreamId, Vec<u8>),
    Finished(StreamId),
    Reset(StreamId),
    Writable(StreamId),
    Pong(Duration),
    GoAway,
    Failed(SessionError),
}

pub(crate) fn seen(event: Event<'_>) -> Seen {
    match event {
        Event::StreamOpened(id) => Seen::Opened(id),
        Event::StreamAcked(id) => Seen::Acked(id),
        Event::Data(id, bytes) => Seen::Data(id, bytes.to_vec()),
        Event::StreamFinished(id) => Seen::Finished(id),
        Event::StreamReset(id) => Seen::Reset(id),
        Event::Writable(id) => Seen::Writable(id),
        Event::Pong(round_trip) => Seen::Pong(round_trip),
        Event::GoAway => Seen::GoAway,
        Event::SessionFailed(error) => Seen::Failed(error),
    }
}

pub(crate) struct End {
    pub(crate) session: Session<Vec<u8>>,
    pub(crate) now: Duration,
}

impl End {
    pub(crate) fn new(side: Side) -> Self {
        Self::with(side, Config::default())
    }

    pub(crate) fn with(side: Side, config: Config) -> Self {
        Self { session: Session::new(side, config, NOW), now: NOW }
    }

    // What it tells of these bytes; once it has failed, nothing.
    pub(crate) fn receive(&mut self, mut bytes: &[u8]) -> Vec<Seen> {
        let mut events = Vec::new();
        while let Ok(Some(event)) = self.session.receive(&mut bytes, self.now) {
            events.push(seen(event));
        }
        events
    }

    pub(crate) fn events(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.session.poll_event()).map(seen).collect()
    }

    pub(crate) fn transmit(&mut self, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(transmit) = self.session.poll_transmit(most, self.now) {
            let length = transmit.len();
            transmit.write(|bytes| out.extend_from_slice(bytes));
            assert_eq!(out.len(), length);
        }
        out
    }

    // All that it has to send.
    pub(crate) fn drain(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let out = self.transmit(1 << 20);
            if out.is_empty() {
                return all;
            }
            all.extend(out);
        }
    }

    pub(crate) fn frames(&mut self) -> Vec<(Header, Vec<u8>)> {
        frames(&self.drain())
    }

    pub(crate) fn headers(&mut self) -> Vec<Header> {
        self.frames().into_iter().map(|(header, _)| header).collect()
    }

    pub(crate) fn open(&mut self) -> StreamId {
        self.session.open(self.now).unwrap()
    }

    // Moves the clock on to the next timer.
    pub(crate) fn wait(&mut self) -> Vec<Seen> {
        self.now = self.session.poll_timeout().unwrap();
        self.session.handle_timeout(self.now).unwrap();
        self.events()
    }
}

pub(crate) fn pair() -> (End, End) {
    (End::new(Side::Client), End::new(Side::Server))
}

// All that one has for the other, and what that tells of it.
pub(crate) fn carry(from: &mut End, to: &mut End) -> Vec<Seen> {
    let bytes = from.drain();
    to.receive(&bytes)
}

// A stream of the client's that both know.
pub(crate) fn open(client: &mut End, server: &mut End) -> StreamId {
    let id = client.open();
    assert_eq!(carry(client, server), [Seen::Opened(id)]);
    server.session.accept(id).unwrap();
    assert_eq!(carry(server, client), [Seen::Acked(id)]);
    id
}

pub(crate) fn frame(kind: Kind, flags: u16, stream: StreamId, length: u32) -> Vec<u8> {
    Header { kind, flags, stream, length }.encode().to_vec()
}

pub(crate) fn data(flags: u16, stream: StreamId, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(Kind::Data, flags, stream, u32::try_from(payload.len()).unwrap());
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn update(flags: u16, stream: StreamId, delta: u32) -> Vec<u8> {
    frame(Kind::WindowUpdate, flags, stream, delta)
}

pub(crate) fn go_away(code: GoAway) -> Header {
    Header { kind: Kind::GoAway, flags: 0, stream: 0, length: code as u32 }
}

pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let header = Header::decode(bytes[..HEADER_BYTES].try_into().unwrap()).unwrap();
        let length = if header.kind == Kind::Data { header.length as usize } else { 0 };
        let (frame, rest) = bytes.split_at(HEADER_BYTES + length);
        frames.push((header, frame[HEADER_BYTES..].to_vec()));
        bytes = rest;
    }
    frames
}

pub(crate) fn payload(events: &[Seen]) -> Vec<u8> {
    let of = |event: &Seen| if let Seen::Data(_, bytes) = event { bytes.clone() } else { vec![] };
    events.iter().flat_map(of).collect()
}
