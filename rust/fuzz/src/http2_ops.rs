use std::collections::{HashMap, HashSet};

use pyplugin_rust::http2::{Config, Connection, Event, Side, StreamId};

const WINDOW: u32 = 70_000;

/// Two connections that are joined hand on what they are given, in whatever order things happen, and
/// find no fault with each other.
///
/// Four bytes an operation: whose and which, on which stream, and how much.
pub fn http2_ops(data: &[u8]) {
    let mut ends = [End::new(Side::Client), End::new(Side::Server)];
    for operation in data.chunks_exact(4) {
        let [kind, stream, high, low] = operation else { return };
        let amount = usize::from(u16::from_be_bytes([*high, *low])) * 8;
        let [client, server] = &mut ends;
        let (here, there) = if kind & 1 == 0 { (client, server) } else { (server, client) };
        if kind >> 1 == 0 {
            carry(here, there, amount);
        } else {
            here.run(kind >> 1, usize::from(*stream), amount);
        }
    }
    loop {
        let mut is_idle = true;
        for index in [0, 1] {
            let [client, server] = &mut ends;
            let (here, there) = if index == 0 { (client, server) } else { (server, client) };
            here.acknowledge_all();
            here.transmit();
            is_idle &= here.wire.is_empty();
            carry(here, there, usize::MAX);
        }
        if is_idle {
            break;
        }
    }
    let [client, server] = &ends;
    assert_eq!(client.connection.stream_count(), server.connection.stream_count());
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
    connection: Connection,
    is_client: bool,
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
        let config = Config {
            stream_window: WINDOW,
            connection_window: 2 * WINDOW,
            max_streams: 5,
            ..Config::default()
        };
        Self {
            connection: Connection::new(side, config),
            is_client: side == Side::Client,
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

    fn run(&mut self, kind: u8, stream: usize, amount: usize) {
        let number = amount.to_string();
        if kind == 1 {
            self.transmit();
        } else if kind == 2 {
            self.connection.ping([1; 8]).unwrap();
        } else if kind == 3 && self.is_client {
            let id = self.connection.next_stream_id().unwrap();
            let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), ("n", &number)];
            let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            self.streams.extend(self.connection.send_headers(id, fields, false).map(|()| id).ok());
        }
        let Some(id) = self.streams.get(stream).copied() else { return };
        match kind {
            4 if !self.is_client => {
                let fields = [(&b":status"[..], &b"200"[..]), (b"n", number.as_bytes())];
                let _ = self.connection.send_headers(id, fields, false);
            }
            5 => {
                let sent = self.sent.entry(id).or_default();
                let chunk: Vec<u8> =
                    (0..=250).cycle().skip(sent.len() % 251).take(amount).collect();
                if let Ok(length) = self.connection.send_data(id, &chunk, false) {
                    sent.extend(&chunk[..length]);
                }
            }
            6 => {
                let held = self.held.entry(id).or_default();
                let length = amount.min(*held);
                *held -= length;
                self.connection.acknowledge(id, length).unwrap();
            }
            7 if self.connection.send_data(id, b"", true).is_ok() => {
                self.finishes.insert(id);
            }
            // Trailers, but not in the place of an answer, which has a status.
            8 if self.connection.send_data(id, b"", false).is_ok() => {
                let fields = [(&b"grpc-status"[..], number.as_bytes())];
                self.connection.send_headers(id, fields, true).unwrap();
                self.finishes.insert(id);
            }
            9 if self.connection.reset(id, 8).is_ok() => {
                self.resets.insert(id);
            }
            _ => {}
        }
    }

    fn transmit(&mut self) {
        let Self { connection, wire, .. } = self;
        connection.take_out(|bytes| wire.extend_from_slice(bytes));
    }

    fn acknowledge_all(&mut self) {
        for (id, held) in &mut self.held {
            self.connection.acknowledge(*id, std::mem::take(held)).unwrap();
        }
    }

    fn note(&mut self, event: &Event<'_>) {
        match *event {
            Event::Request(id, _) => self.streams.push(id),
            Event::Data(id, bytes) => {
                assert!(!bytes.is_empty() && !self.ends.contains(&id));
                let held = self.held.entry(id).or_default();
                *held += bytes.len();
                assert!(*held <= WINDOW as usize);
                self.got.entry(id).or_default().extend_from_slice(bytes);
            }
            Event::Ended(id) => assert!(self.ends.insert(id)),
            Event::Reset { stream, by_peer, code } => {
                // Refused, where an end of the other's is not yet known here.
                assert!(by_peer && (code == 8 || code == 7), "{code}");
                self.resets.insert(stream);
            }
            Event::Failed(ref error) => panic!("{error}"),
            _ => {}
        }
    }
}

fn carry(from: &mut End, to: &mut End, most: usize) {
    let rest = from.wire.split_off(most.min(from.wire.len()));
    let bytes = std::mem::replace(&mut from.wire, rest);
    let mut chunk = bytes.as_slice();
    while let Some(event) = to.connection.receive(&mut chunk).unwrap() {
        to.note(&event);
    }
}
