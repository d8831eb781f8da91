use std::collections::{HashMap, HashSet};
use std::time::Duration;

use pyplugin_rust::yamux::{Config, Event, Session, Side, StreamId};

/// Two sessions that are joined hand on what they are given, in whatever order things happen, and
/// find no fault with each other.
///
/// Four bytes an operation: whose and which, on which stream, and how much.
pub fn yamux_ops(data: &[u8]) {
    let mut ends = [End::new(Side::Client), End::new(Side::Server)];
    let mut now = Duration::from_secs(1);
    for operation in data.chunks_exact(4) {
        let [kind, stream, high, low] = operation else { return };
        let amount = usize::from(u16::from_be_bytes([*high, *low])) * 8;
        let [client, server] = &mut ends;
        let (here, there) = if kind & 1 == 0 { (client, server) } else { (server, client) };
        match kind >> 1 {
            0 => carry(here, there, amount, now),
            1 => now += Duration::from_millis(u64::from(*low)),
            kind => here.run(kind, usize::from(*stream), amount, now),
        }
    }
    loop {
        let mut is_idle = true;
        for index in [0, 1] {
            let [client, server] = &mut ends;
            let (here, there) = if index == 0 { (client, server) } else { (server, client) };
            here.consume_all();
            here.transmit(usize::MAX, now);
            is_idle &= here.wire.is_empty();
            carry(here, there, usize::MAX, now);
        }
        if is_idle {
            break;
        }
    }
    let [client, server] = &ends;
    assert_eq!(client.session.stream_count(), server.session.stream_count());
    for (from, to) in [(client, server), (server, client)] {
        for (id, sent) in &from.sent {
            let got = to.got.get(id).map(Vec::as_slice).unwrap_or_default();
            assert!(sent.starts_with(got));
            if !from.resets.contains(id) && !to.resets.contains(id) {
                assert_eq!(sent, got);
                assert_eq!(from.finishes.contains(id), to.ends.contains(id));
            }
        }
    }
}

struct End {
    session: Session<Vec<u8>>,
    // On the way to the other.
    wire: Vec<u8>,
    streams: Vec<StreamId>,
    sent: HashMap<StreamId, Vec<u8>>,
    got: HashMap<StreamId, Vec<u8>>,
    held: HashMap<StreamId, usize>,
    finishes: HashSet<StreamId>,
    ends: HashSet<StreamId>,
    resets: HashSet<StreamId>,
}

impl End {
    fn new(side: Side) -> Self {
        // Clocks go on, but nobody calls the timers.
        let config = Config { receive_window: 300_000, keep_alive: None, ..Config::default() };
        Self {
            session: Session::new(side, config, Duration::ZERO),
            wire: Vec::new(),
            streams: Vec::new(),
            sent: HashMap::new(),
            got: HashMap::new(),
            held: HashMap::new(),
            finishes: HashSet::new(),
            ends: HashSet::new(),
            resets: HashSet::new(),
        }
    }

    fn run(&mut self, kind: u8, stream: usize, amount: usize, now: Duration) {
        if kind == 2 {
            self.streams.extend(self.session.open(now).ok());
        } else if kind == 3 {
            self.transmit(amount, now);
        } else if kind == 4 {
            self.session.ping(now).unwrap();
        } else if kind == 5 {
            self.session.go_away().unwrap();
        }
        let Some(id) = self.streams.get(stream).copied() else { return };
        match kind {
            6 => {
                let sent = self.sent.entry(id).or_default();
                let chunk: Vec<u8> =
                    (0..=250).cycle().skip(sent.len() % 251).take(amount).collect();
                if self.session.send(id, chunk.clone()).is_ok() {
                    sent.extend(chunk);
                }
            }
            7 => {
                let held = self.held.entry(id).or_default();
                let length = amount.min(*held);
                *held -= length;
                self.session.consume(id, length).unwrap();
            }
            8 => {
                self.session.finish(id).unwrap();
                self.finishes.insert(id);
            }
            9 => {
                self.session.reset(id).unwrap();
                self.resets.insert(id);
            }
            _ => {}
        }
    }

    fn transmit(&mut self, most: usize, now: Duration) {
        if let Some(transmit) = self.session.poll_transmit(most, now) {
            let expected = self.wire.len() + transmit.len();
            transmit.write(|bytes| self.wire.extend_from_slice(bytes));
            assert_eq!(self.wire.len(), expected);
        }
    }

    fn consume_all(&mut self) {
        for (id, held) in &mut self.held {
            self.session.consume(*id, std::mem::take(held)).unwrap();
        }
    }

    fn note(&mut self, event: Event<'_>) {
        match event {
            Event::StreamOpened(id) => {
                self.session.accept(id).unwrap();
                self.streams.push(id);
            }
            Event::Data(id, bytes) => {
                assert!(!bytes.is_empty() && !self.ends.contains(&id));
                let held = self.held.entry(id).or_default();
                *held += bytes.len();
                assert!(*held <= 300_000);
                self.got.entry(id).or_default().extend_from_slice(bytes);
            }
            Event::StreamFinished(id) => assert!(self.ends.insert(id)),
            Event::StreamReset(id) => {
                self.resets.insert(id);
            }
            Event::SessionFailed(error) => panic!("{error}"),
            Event::StreamAcked(_) | Event::Writable(_) | Event::Pong(_) | Event::GoAway => {}
        }
    }
}

fn carry(from: &mut End, to: &mut End, most: usize, now: Duration) {
    let rest = from.wire.split_off(most.min(from.wire.len()));
    let bytes = std::mem::replace(&mut from.wire, rest);
    let mut chunk = bytes.as_slice();
    while let Some(event) = to.session.receive(&mut chunk, now).unwrap() {
        to.note(event);
    }
}
