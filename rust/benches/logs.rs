//! How fast the core of the log stream is. Lines are those that `make bench-logs` has plugins write.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench fails by a panic; criterion's macros document nothing"
)]

use std::hint::black_box;
use std::time::SystemTime;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use pyplugin_rust::forward::{Encoder, Format};
use pyplugin_rust::hclog::batch::{Batch, LogStream};
use pyplugin_rust::hclog::json::Tokens;
use pyplugin_rust::hclog::{Level, Parser};
use pyplugin_rust::lines::LineSplitter;
use pyplugin_rust::pump::READ_BYTES;

const LIMIT: usize = 1 << 16;

// As hclog writes it, of 253 bytes.
fn entry(level: &str, more: &str) -> Vec<u8> {
    let before = format!(
        r#"{{"@level":"{level}","@message":"request handled","@module":"store","@timestamp":"2026-01-02T03:04:05.678901Z","#
    );
    let after = r#","cached":true,"duration_ms":12.25,"method":"GET","path":"/v1/items/4711","status":200}"#;
    let used = before.len() + r#""agent":"""#.len() + more.len() + after.len();
    let agent = format!("{more}{}", "x".repeat(253_usize.saturating_sub(used)));
    format!(r#"{before}"agent":"{agent}"{after}"#).into()
}

fn lines() -> [(&'static str, Vec<u8>); 6] {
    let long = entry("info", &"x".repeat(100 * 1024));
    [
        ("entry", entry("info", "")),
        ("escaped entry", entry("info", r"a\tb\n")),
        ("long entry", long),
        ("plain", [&b"GET /v1/items/4711 200 12.25ms "[..], &[b'x'; 89]].concat()),
        ("prefixed", [&b"[WARN] slow request: /v1/items/4711 "[..], &[b'x'; 84]].concat()),
        (
            "pretty",
            [&b"2026-01-02T03:04:05.678Z [INFO]  plugin.store: request handled: "[..], &[b'x'; 56]]
                .concat(),
        ),
    ]
}

// As much as one read of a pipe gives, of this line.
fn chunk(line: &[u8]) -> Vec<u8> {
    [line, b"\n"].concat().repeat(READ_BYTES / (line.len() + 1))
}

fn per_byte<'a>(
    criterion: &'a mut Criterion,
    name: &str,
    bytes: usize,
) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    group
}

fn splitter(criterion: &mut Criterion) {
    for (name, line) in [("entries", entry("info", "")), ("short lines", b"short".to_vec())] {
        let text = chunk(&line);
        for (kind, size) in [("whole", text.len()), ("in pieces of 1000", 1000)] {
            per_byte(criterion, "splitter", text.len()).bench_function(
                format!("{name}, {kind}"),
                |bencher| {
                    let mut splitter = LineSplitter::new(LIMIT);
                    bencher.iter(|| {
                        for piece in black_box(&text).chunks(size) {
                            splitter.push(piece, &mut |line| {
                                black_box(line);
                            });
                        }
                    });
                },
            );
        }
    }
}

fn parser(criterion: &mut Criterion) {
    for (name, line) in lines() {
        per_byte(criterion, "parser", line.len()).bench_function(name, |bencher| {
            let mut parser = Parser::new();
            bencher.iter(|| {
                black_box(parser.parse(black_box(&line)));
            });
        });
    }
    let line = entry("debug", "");
    per_byte(criterion, "parser", line.len()).bench_function("is below", |bencher| {
        let parser = Parser::new();
        bencher.iter(|| parser.is_below(black_box(&line), Level::Warn));
    });
}

fn tokens(criterion: &mut Criterion) {
    for (name, line) in lines().into_iter().take(3) {
        per_byte(criterion, "tokens", line.len()).bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut tokens = Tokens::new(black_box(&line));
                while let Some(token) = tokens.next().unwrap() {
                    black_box(token);
                }
            });
        });
    }
}

fn stream(criterion: &mut Criterion) {
    let lines = lines().into_iter().filter(|(name, _)| ["entry", "plain"].contains(name));
    for (name, line) in lines {
        let text = chunk(&line);
        for least in [Level::Trace, Level::Warn] {
            let name = format!("{name} from {}", least.name());
            per_byte(criterion, "stream", text.len()).bench_function(name, |bencher| {
                let mut stream = LogStream::new(LIMIT);
                bencher.iter(|| {
                    let mut batch = Batch::default();
                    stream.push(black_box(&text), least, None, &mut |line, record| {
                        batch.push(line, record);
                    });
                    batch
                });
            });
        }
    }
}

fn encoder(criterion: &mut Criterion) {
    for (kind, format) in
        [("hclog", Format::Hclog), ("logfmt", Format::Logfmt), ("verbatim", Format::Verbatim)]
    {
        for (name, line) in lines() {
            if name == "long entry" {
                continue;
            }
            let mut parser = Parser::new();
            let record = parser.parse(&line);
            let encoder = Encoder::new(format, "kv");
            let now = SystemTime::now();
            per_byte(criterion, kind, line.len()).bench_function(name, |bencher| {
                let mut out = Vec::new();
                bencher.iter(|| {
                    out.clear();
                    encoder.write(&mut out, black_box(&line), &record, now);
                    black_box(&out);
                });
            });
        }
    }
}

criterion_group!(benches, splitter, parser, tokens, stream, encoder);
criterion_main!(benches);
