//! Anything in any order, in any chunks.

use std::collections::HashMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use pyplugin_rust::yamux::{ACK, Config, FIN, Kind, RST, SYN, Side, StreamId};

use crate::ends::{End, Seen, data, frame, update};

#[derive(Debug, Clone)]
enum Operation {
    Open,
    Send(usize, usize),
    Consume(usize, usize),
    Finish(usize),
    Reset(usize),
    Transmit(usize),
    Deliver(usize),
    Ping,
    Wait(u64),
    GoAway,
}

fn operation() -> impl Strategy<Value = (bool, Operation)> {
    let stream = 0..4_usize;
    let kind = prop_oneof![
        2 => Just(Operation::Open),
        8 => (stream.clone(), 0..100_000_usize).prop_map(|(s, n)| Operation::Send(s, n)),
        6 => (stream.clone(), 0..300_000_usize).prop_map(|(s, n)| Operation::Consume(s, n)),
        1 => stream.clone().prop_map(Operation::Finish),
        1 => stream.prop_map(Operation::Reset),
        8 => (0..200_000_usize).prop_map(Operation::Transmit),
        8 => (0..300_000_usize).prop_map(Operation::Deliver),
        1 => Just(Operation::Ping),
        1 => (0..5_u64).prop_map(Operation::Wait),
        1 => Just(Operation::GoAway),
    ];
    (any::<bool>(), kind)
}

struct Half {
    end: End,
    // On the way to the other.
    wire: Vec<u8>,
    // By stream: what was sent and what came, how much of that is to be consumed, and how it ended.
    sent: HashMap<StreamId, Vec<u8>>,
    got: HashMap<StreamId, Vec<u8>>,
    held: HashMap<StreamId, usize>,
    is_finished: HashMap<StreamId, bool>,
    streams: Vec<StreamId>,
    resets: Vec<StreamId>,
    ends: Vec<StreamId>,
}

impl Half {
    fn new(side: Side) -> Self {
        Self {
            end: End::with(side, Config { receive_window: 300_000, ..Config::default() }),
            wire: Vec::new(),
            sent: HashMap::new(),
            got: HashMap::new(),
            held: HashMap::new(),
            is_finished: HashMap::new(),
            streams: Vec::new(),
            resets: Vec::new(),
            ends: Vec::new(),
        }
    }

    fn note(&mut self, events: Vec<Seen>) {
        for event in events {
            match event {
                Seen::Opened(id) => {
                    self.end.session.accept(id).unwrap();
                    self.streams.push(id);
                }
                Seen::Data(id, bytes) => {
                    assert!(!bytes.is_empty() && !self.ends.contains(&id));
                    *self.held.entry(id).or_default() += bytes.len();
                    assert!(self.held[&id] <= 300_000);
                    self.got.entry(id).or_default().extend(bytes);
                }
                Seen::Finished(id) => self.ends.push(id),
                Seen::Reset(id) => self.resets.push(id),
                Seen::Failed(error) => panic!("{error}"),
                Seen::Acked(_) | Seen::Writable(_) | Seen::Pong(_) | Seen::GoAway => {}
            }
        }
    }

    fn run(&mut self, operation: &Operation) {
        let now = self.end.now;
        let stream = |index: &usize| self.streams.get(*index).copied();
        match operation {
            Operation::Open => self.streams.extend(self.end.session.open(now).ok()),
            Operation::Send(index, length) => {
                let Some(id) = stream(index) else { return };
                let sent = self.sent.entry(id).or_default();
                let chunk: Vec<u8> =
                    (0..253).cycle().skip(sent.len() % 253).take(*length).collect();
                if self.end.session.send(id, chunk.clone()).is_ok() {
                    sent.extend(chunk);
                }
            }
            Operation::Consume(index, length) => {
                let Some(id) = stream(index) else { return };
                let held = self.held.entry(id).or_default();
                let length = (*held).min(*length);
                *held -= length;
                self.end.session.consume(id, length).unwrap();
            }
            Operation::Finish(index) => {
                let Some(id) = stream(index) else { return };
                self.end.session.finish(id).unwrap();
                self.is_finished.insert(id, true);
            }
            Operation::Reset(index) => {
                let Some(id) = stream(index) else { return };
                self.end.session.reset(id).unwrap();
                self.resets.push(id);
            }
            Operation::Transmit(most) => {
                let out = self.end.transmit(*most);
                self.wire.extend(out);
            }
            Operation::Ping => self.end.session.ping(now).unwrap(),
            Operation::GoAway => self.end.session.go_away().unwrap(),
            Operation::Deliver(_) | Operation::Wait(_) => {}
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
                from.end.session.consume(*id, std::mem::take(held)).unwrap();
            }
            let out = from.end.drain();
            from.wire.extend(out);
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
                Operation::Wait(seconds) => {
                    here.end.now += Duration::from_secs(*seconds);
                    there.end.now = here.end.now;
                }
                operation => here.run(operation),
            }
        }
        settle(&mut halves);
        let [client, server] = &halves;
        for (from, to) in [(client, server), (server, client)] {
            for (id, sent) in &from.sent {
                let got = to.got.get(id).map(Vec::as_slice).unwrap_or_default();
                let is_reset = from.resets.contains(id) || to.resets.contains(id);
                prop_assert!(sent.starts_with(got));
                if !is_reset {
                    prop_assert!(sent == got);
                    prop_assert_eq!(from.is_finished.contains_key(id), to.ends.contains(id));
                }
            }
            let left = from.end.session.stream_count();
            prop_assert_eq!(left, to.end.session.stream_count());
        }
    }

    #[test]
    fn any_chunking_tells_the_same(
        stream in vec(any_frame(), 1..40),
        sizes in vec(1..60_usize, 1..50),
    ) {
        let bytes = stream.concat();
        let mut whole = End::new(Side::Server);
        let expected = merged(whole.receive(&bytes));
        let mut pieces = End::new(Side::Server);
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
    let flags = prop_oneof![Just(0), Just(SYN), Just(ACK), Just(FIN), Just(RST), 0..32_u16];
    let id = 0..8_u32;
    prop_oneof![
        (flags.clone(), id.clone(), vec(any::<u8>(), 0..40)).prop_map(|(f, s, p)| data(f, s, &p)),
        (flags.clone(), id, any::<u32>()).prop_map(|(f, s, n)| update(f, s, n >> 12)),
        (flags, any::<u32>()).prop_map(|(f, n)| frame(Kind::Ping, f, 0, n)),
        (0..16_u32).prop_map(|code| frame(Kind::GoAway, 0, 0, code / 14)),
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
