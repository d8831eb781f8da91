//! How fast two sessions exchange messages of 16 KiB, joined in memory. `benches/go/yamux` measures
//! Go's over `net.Pipe` for the same work.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench fails by a panic; criterion's macros document nothing"
)]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pyplugin_rust::yamux::{Config, Event, Session, Side, StreamId};

const MESSAGE: [u8; 16 * 1024] = [7; 16 * 1024];
// What is written and read at once.
const CHUNK: usize = 64 * 1024;

struct Pair {
    client: Session<&'static [u8]>,
    server: Session<&'static [u8]>,
    streams: Vec<StreamId>,
    wire: Vec<u8>,
    // Where the reader's copy of a message goes, if it makes one.
    got: Option<Vec<u8>>,
}

impl Pair {
    fn new(count: usize, copies: bool) -> Self {
        let session = |side| Session::new(side, Config::default(), Duration::ZERO);
        let mut pair = Self {
            client: session(Side::Client),
            server: session(Side::Server),
            streams: Vec::new(),
            wire: Vec::new(),
            got: copies.then(Vec::new),
        };
        for _ in 0..count {
            pair.streams.push(pair.client.open(Duration::ZERO).unwrap());
            pair.carry();
        }
        pair
    }

    // One message on each stream, until all of them are read.
    fn exchange(&mut self) {
        for id in &self.streams {
            self.client.send(*id, &MESSAGE).unwrap();
        }
        assert_eq!(self.carry(), self.streams.len() * MESSAGE.len());
    }

    fn carry(&mut self) -> usize {
        let mut bytes = 0;
        loop {
            self.wire.clear();
            let Some(transmit) = self.client.poll_transmit(CHUNK, Duration::ZERO) else {
                return bytes;
            };
            transmit.write(|piece| self.wire.extend_from_slice(piece));
            let mut chunk = self.wire.as_slice();
            while let Some(event) = self.server.receive(&mut chunk, Duration::ZERO).unwrap() {
                match event {
                    Event::StreamOpened(id) => self.server.accept(id).unwrap(),
                    Event::Data(id, data) => {
                        if let Some(got) = &mut self.got {
                            got.clear();
                            got.extend_from_slice(data);
                        }
                        bytes += data.len();
                        self.server.consume(id, data.len()).unwrap();
                    }
                    _ => {}
                }
            }
            self.wire.clear();
            if let Some(transmit) = self.server.poll_transmit(CHUNK, Duration::ZERO) {
                transmit.write(|piece| self.wire.extend_from_slice(piece));
            }
            let mut chunk = self.wire.as_slice();
            while self.client.receive(&mut chunk, Duration::ZERO).unwrap().is_some() {}
        }
    }
}

fn exchange(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("yamux");
    for (name, copies) in [("lent", false), ("copied", true)] {
        for count in [1, 16, 256, 4096] {
            let mut pair = Pair::new(count, copies);
            group.throughput(Throughput::Bytes((count * MESSAGE.len()) as u64));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| pair.exchange());
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = exchange
}
criterion_main!(benches);
