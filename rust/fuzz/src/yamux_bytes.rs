use std::time::Duration;

use pyplugin_rust::yamux::{Config, Event, GoAway, Header, Kind, Session, SessionError, Side};

const NOW: Duration = Duration::from_secs(1);

/// Whatever a peer sends, in whatever chunks, a session tells the same and answers the same, is over
/// when the peer broke the rules, and then says so.
///
/// The first byte chooses the side and whether streams are accepted, and each one up to a zero how
/// long the next chunk is; the stream follows.
pub fn yamux_bytes(data: &[u8]) {
    let [choice, rest @ ..] = data else { return };
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    let (sizes, stream) = rest.split_at(end);
    let mut stream = stream.strip_prefix(b"\0").unwrap_or(stream);

    let mut whole = End::new(*choice);
    whole.receive(stream);
    let mut pieces = End::new(*choice);
    for size in sizes {
        let Some((chunk, after)) = stream.split_at_checked(usize::from(*size)) else { break };
        pieces.receive(chunk);
        stream = after;
    }
    pieces.receive(stream);
    assert_eq!(whole.told, pieces.told);
    let (whole, pieces) = (whole.finish(), pieces.finish());
    assert_eq!(whole, pieces);
}

#[derive(Debug, PartialEq)]
enum Told {
    Data(u32, Vec<u8>),
    Other(Event<'static>),
}

struct End {
    session: Session<Vec<u8>>,
    accepts: bool,
    told: Vec<Told>,
}

impl End {
    fn new(choice: u8) -> Self {
        let side = if choice & 1 == 0 { Side::Client } else { Side::Server };
        // A backlog that a few frames can fill.
        let config = Config { accept_backlog: 3, stream_limit: 5, ..Config::default() };
        let mut session = Session::new(side, config, NOW);
        for _ in 0..2 {
            let id = session.open(NOW).unwrap();
            session.send(id, b"data".to_vec()).unwrap();
        }
        drain(&mut session);
        Self { session, accepts: choice & 2 == 0, told: Vec::new() }
    }

    fn receive(&mut self, mut chunk: &[u8]) {
        loop {
            let event = match self.session.receive(&mut chunk, NOW) {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    assert_eq!(self.told.last(), Some(&Told::Other(Event::SessionFailed(error))));
                    return;
                }
            };
            match event {
                Event::Data(id, bytes) => {
                    assert!(!bytes.is_empty());
                    self.session.consume(id, bytes.len()).unwrap();
                    match self.told.last_mut() {
                        Some(Told::Data(last, text)) if *last == id => text.extend(bytes),
                        _ => self.told.push(Told::Data(id, bytes.to_vec())),
                    }
                }
                Event::StreamOpened(id) => {
                    if self.accepts {
                        // The frame that opened it may have broken a rule as well.
                        assert_eq!(
                            self.session.accept(id).is_err(),
                            self.session.failure().is_some()
                        );
                    }
                    self.told.push(Told::Other(Event::StreamOpened(id)));
                }
                Event::StreamAcked(id) => self.told.push(Told::Other(Event::StreamAcked(id))),
                Event::StreamFinished(id) => self.told.push(Told::Other(Event::StreamFinished(id))),
                Event::StreamReset(id) => self.told.push(Told::Other(Event::StreamReset(id))),
                Event::Writable(id) => self.told.push(Told::Other(Event::Writable(id))),
                Event::Pong(after) => self.told.push(Told::Other(Event::Pong(after))),
                Event::GoAway => self.told.push(Told::Other(Event::GoAway)),
                Event::SessionFailed(error) => {
                    self.told.push(Told::Other(Event::SessionFailed(error)));
                }
            }
            assert!(self.session.stream_count() <= 5);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let out = drain(&mut self.session);
        if let Some(error) = self.session.failure() {
            let length = GoAway::ProtocolError as u32;
            let header = Header { kind: Kind::GoAway, flags: 0, stream: 0, length };
            let is_told = matches!(error, SessionError::Remote(_));
            assert_eq!(out, if is_told { header.encode().to_vec() } else { Vec::new() });
        }
        // A thousand refusals, 64 answers, and what five streams have to say.
        assert!(out.len() <= (1024 + 64 + 20) * 12 + 8);
        out
    }
}

fn drain(session: &mut Session<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(transmit) = session.poll_transmit(1 << 16, NOW) {
        transmit.write(|bytes| out.extend_from_slice(bytes));
    }
    out
}
