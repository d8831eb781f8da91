//! Anything in any order, in any chunks.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use pyplugin_rust::http2::{
    Config, DATA, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, Side, StreamId,
    WINDOW_UPDATE,
};

use crate::ends::{End, RESPONSE, Seen, TRAILERS, frame, headers, request, settings};

#[derive(Debug, Clone)]
enum Operation {
    Open,
    Answer(usize),
    Send(usize, usize),
    Finish(usize),
    Trail(usize),
    Acknowledge(usize, usize),
    Reset(usize),
    Ping,
    Transmit,
    Deliver(usize),
}

fn operation() -> impl Strategy<Value = (bool, Operation)> {
    let stream = 0..4_usize;
    let kind = prop_oneof![
        2 => Just(Operation::Open),
        3 => stream.clone().prop_map(Operation::Answer),
        8 => (stream.clone(), 0..100_000_usize).prop_map(|(s, n)| Operation::Send(s, n)),
        6 => (stream.clone(), 0..300_000_usize).prop_map(|(s, n)| Operation::Acknowledge(s, n)),
        1 => stream.clone().prop_map(Operation::Finish),
        1 => stream.clone().prop_map(Operation::Trail),
        1 => stream.prop_map(Operation::Reset),
        1 => Just(Operation::Ping),
        8 => Just(Operation::Transmit),
        8 => (0..300_000_usize).prop_map(Operation::Deliver),
    ];
    (any::<bool>(), kind)
}

struct Half {
    end: End,
    is_client: bool,
    // On the way to the other.
    wire: Vec<u8>,
    streams: Vec<StreamId>,
    // By stream: what was sent and what came, and how much of that is to be acknowledged.
    sent: HashMap<StreamId, Vec<u8>>,
    got: HashMap<StreamId, Vec<u8>>,
    held: HashMap<StreamId, usize>,
    finished: Vec<StreamId>,
    ended: Vec<StreamId>,
    resets: Vec<StreamId>,
}

impl Half {
    fn new(side: Side) -> Self {
        let config =
            Config { stream_window: 100_000, connection_window: 150_000, ..Config::default() };
        Self {
            end: End::raw(side, config),
            is_client: side == Side::Client,
            wire: Vec::new(),
            streams: Vec::new(),
            sent: HashMap::new(),
            got: HashMap::new(),
            held: HashMap::new(),
            finished: Vec::new(),
            ended: Vec::new(),
            resets: Vec::new(),
        }
    }

    fn note(&mut self, events: Vec<Seen>) {
        for event in events {
            match event {
                Seen::Request(id) => self.streams.push(id),
                Seen::Data(id, bytes) => {
                    assert!(!bytes.is_empty() && !self.ended.contains(&id));
                    let held = self.held.entry(id).or_default();
                    *held += bytes.len();
                    assert!(*held <= 100_000);
                    self.got.entry(id).or_default().extend(bytes);
                }
                Seen::Ended(id) => self.ended.push(id),
                Seen::Reset(id, _, by_peer) => {
                    assert!(by_peer);
                    self.resets.push(id);
                }
                Seen::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
    }

    fn run(&mut self, operation: &Operation) {
        let stream = |index: &usize| self.streams.get(*index).copied();
        let connection = &mut self.end.connection;
        match operation {
            Operation::Open if self.is_client => {
                let id = self.end.open(false);
                self.streams.push(id);
            }
            Operation::Answer(index) if !self.is_client => {
                let Some(id) = stream(index) else { return };
                let _ = connection.send_headers(id, crate::ends::pairs(RESPONSE), false);
            }
            Operation::Send(index, length) => {
                let Some(id) = stream(index) else { return };
                let sent = self.sent.entry(id).or_default();
                let chunk: Vec<u8> =
                    (0..253).cycle().skip(sent.len() % 253).take(*length).collect();
                if let Ok(length) = connection.send_data(id, &chunk, false) {
                    sent.extend(&chunk[..length]);
                }
            }
            Operation::Finish(index) => {
                let Some(id) = stream(index) else { return };
                if connection.send_data(id, b"", true).is_ok() {
                    self.finished.push(id);
                }
            }
            Operation::Trail(index) if !self.is_client => {
                let Some(id) = stream(index) else { return };
                // Without an answer before they are one, and it has no status.
                if connection.send_data(id, b"", false).is_ok() {
                    connection.send_headers(id, crate::ends::pairs(TRAILERS), true).unwrap();
                    self.finished.push(id);
                }
            }
            Operation::Acknowledge(index, length) => {
                let Some(id) = stream(index) else { return };
                let held = self.held.entry(id).or_default();
                let length = (*held).min(*length);
                *held -= length;
                connection.acknowledge(id, length).unwrap();
            }
            Operation::Reset(index) => {
                let Some(id) = stream(index) else { return };
                if connection.reset(id, 8).is_ok() {
                    self.resets.push(id);
                }
            }
            Operation::Ping => connection.ping([7; 8]).unwrap(),
            Operation::Transmit => {
                let out = self.end.drain();
                self.wire.extend(out);
            }
            _ => {}
        }
    }
}

fn deliver(from: &mut Half, to: &mut Half, most: usize) {
    let rest = from.wire.split_off(most.min(from.wire.len()));
    let bytes = std::mem::replace(&mut from.wire, rest);
    let events = to.end.receive(&bytes);
    to.note(events);
}

// All that can still move, with readers that take everything.
fn settle(halves: &mut [Half; 2]) {
    loop {
        let mut moved = false;
        for index in [0, 1] {
            let [client, server] = &mut *halves;
            let (from, to) = if index == 0 { (client, server) } else { (server, client) };
            for (id, held) in &mut from.held {
                from.end.connection.acknowledge(*id, std::mem::take(held)).unwrap();
            }
            from.run(&Operation::Transmit);
            moved |= !from.wire.is_empty();
            deliver(from, to, usize::MAX);
        }
        if !moved {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(operations in vec(operation(), 1..120)) {
        let mut halves = [Half::new(Side::Client), Half::new(Side::Server)];
        for (is_server, operation) in &operations {
            let [client, server] = &mut halves;
            let (here, there) = if *is_server { (server, client) } else { (client, server) };
            match operation {
                Operation::Deliver(most) => deliver(here, there, *most),
                operation => here.run(operation),
            }
        }
        settle(&mut halves);
        let [client, server] = &halves;
        for (from, to) in [(client, server), (server, client)] {
            for (id, sent) in &from.sent {
                let got = to.got.get(id).map(Vec::as_slice).unwrap_or_default();
                prop_assert!(sent.starts_with(got));
                if !from.resets.contains(id) && !to.resets.contains(id) {
                    prop_assert!(sent == got);
                    prop_assert_eq!(from.finished.contains(id), to.ended.contains(id));
                }
            }
        }
        let left = client.end.connection.stream_count();
        prop_assert_eq!(left, server.end.connection.stream_count());
    }

    #[test]
    fn any_chunking_tells_the_same(
        is_server in any::<bool>(),
        stream in vec(any_frame(), 1..40),
        sizes in vec(1..60_usize, 1..50),
    ) {
        let mut bytes = settings(&[]);
        if is_server {
            bytes.splice(..0, PREFACE.iter().copied());
        }
        bytes.extend(stream.concat());
        let ends = || {
            let side = if is_server { Side::Server } else { Side::Client };
            let mut end = End::raw(side, Config { max_streams: 3, ..Config::default() });
            if !is_server {
                end.open(false);
                end.open(true);
            }
            end
        };
        let (mut whole, mut pieces) = (ends(), ends());
        let expected = merged(whole.receive(&bytes));
        let mut events = Vec::new();
        let mut rest = bytes.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            events.extend(pieces.receive(chunk));
            rest = after;
        }
        prop_assert_eq!(merged(events), expected);
        prop_assert_eq!(&whole.lists, &pieces.lists);
        prop_assert_eq!(whole.drain(), pieces.drain());
    }

    #[test]
    fn garbage_is_refused_or_understood(bytes in vec(any::<u8>(), 0..300)) {
        let mut server = End::new(Side::Server);
        server.receive(&bytes);
        server.drain();
    }
}

// Mostly what may come, on few streams, so that they meet.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![4 => Just(1_u32), 4 => Just(3), 2 => Just(5), 1 => 0..9_u32];
    let flags = prop_oneof![Just(0_u8), Just(END_STREAM), Just(8), any::<u8>()];
    prop_oneof![
        3 => id.clone().prop_map(request),
        2 => id.clone().prop_map(|s| headers(0, s, RESPONSE)),
        2 => id.clone().prop_map(|s| headers(END_STREAM, s, TRAILERS)),
        6 => (flags.clone(), id.clone(), vec(0..12_u8, 0..40))
            .prop_map(|(f, s, p)| frame(DATA, f, s, &p)),
        1 => (flags.clone(), id.clone(), vec(any::<u8>(), 0..20))
            .prop_map(|(f, s, p)| frame(HEADERS, f, s, &p)),
        2 => (id.clone(), any::<u32>())
            .prop_map(|(s, n)| frame(WINDOW_UPDATE, 0, s, &(n >> 8).to_be_bytes())),
        1 => id.clone().prop_map(|s| frame(RST_STREAM, 0, s, &[0; 4])),
        1 => (id.clone(), 0..9_u8).prop_map(|(s, on)| frame(PRIORITY, 0, s, &[0, 0, 0, on, 1])),
        1 => any::<u32>().prop_map(|n| settings(&[(4, n >> 8), (99, n)])),
        1 => (0..2_u8).prop_map(|f| frame(PING, f, 0, b"12345678")),
        1 => (0..9_u8).prop_map(|last| frame(GOAWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, 0, 1])),
        1 => (any::<u8>(), flags, id, vec(any::<u8>(), 0..20))
            .prop_map(|(k, f, s, p)| frame(k, f, s, &p)),
    ]
}

// Data comes in as many pieces as chunks it was in.
fn merged(events: Vec<Seen>) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for event in events {
        match (all.last_mut(), event) {
            (Some(Seen::Data(last, bytes)), Seen::Data(id, more)) if *last == id => {
                bytes.extend(more);
            }
            (_, event) => all.push(event),
        }
    }
    all
}
