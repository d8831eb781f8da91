//! What a plugin prints: all of it, in order, and nobody waits for himself.

#![cfg(unix)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::io::{PipeWriter, Write, pipe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pipes::{LIMIT, file, is_readable, within_limit};
use pyplugin_rust::stdio::Output;

#[allow(dead_code, reason = "others need more of it")]
#[path = "logs/pipes.rs"]
mod pipes;

const PIPE_BYTES: usize = 1 << 16;
const READ_BYTES: usize = 1 << 16;
const ROOM_BYTES: usize = 1 << 18;
const MOST_BYTES: usize = 1 << 26;

fn new() -> (Output, PipeWriter, PipeWriter) {
    let (stdout, stdout_writer) = pipe().unwrap();
    let (stderr, stderr_writer) = pipe().unwrap();
    (Output::new(file(stdout), file(stderr)).unwrap(), stdout_writer, stderr_writer)
}

// The messages in `bytes`: channel and data of each.
fn decode(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes[0], 0);
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        let message = &bytes[5..5 + length];
        bytes = &bytes[5 + length..];
        assert_eq!((message[0], message[2]), (0x08, 0x12));
        let (mut size, mut at) = (0, 3);
        for shift in (0..).step_by(7) {
            size |= usize::from(message[at] & 0x7f) << shift;
            at += 1;
            if message[at - 1] < 0x80 {
                break;
            }
        }
        assert_eq!(size, message.len() - at);
        messages.push((message[1], message[at..].to_vec()));
    }
    messages
}

#[derive(Default)]
struct Host {
    texts: [Vec<u8>; 2],
}

impl Host {
    // Takes messages until it has as much of both together.
    fn take(&mut self, output: &Output, chunk: usize, total: usize) {
        while self.total() < total {
            assert!(output.look() || is_readable(output.sleeper(), LIMIT), "nothing came");
            output.look();
            self.take_some(output, chunk);
        }
        assert_eq!(self.total(), total);
    }

    fn take_some(&mut self, output: &Output, chunk: usize) {
        let messages = decode(&output.take(50_000, chunk));
        assert!(messages.iter().map(|(_, data)| data.len()).sum::<usize>() <= 50_000);
        for (channel, data) in messages {
            assert!(!data.is_empty() && data.len() <= chunk, "{} bytes", data.len());
            self.texts[usize::from(channel) - 1].extend(data);
        }
    }

    fn total(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }
}

fn text(seed: usize, length: usize) -> Vec<u8> {
    (0..251).cycle().skip(seed).take(length).collect()
}

fn written(mut writer: PipeWriter, text: Vec<u8>) -> thread::JoinHandle<()> {
    thread::spawn(move || writer.write_all(&text).unwrap())
}

#[test]
fn all_of_it_comes_in_order_in_chunks() {
    within_limit(|| {
        for chunk in [1024, 16 * 1024, 1] {
            let length = if chunk == 1 { 100_000 } else { 1_000_000 };
            let (output, stdout, stderr) = new();
            let texts = [text(0, length), text(7, length / 2)];
            let writers = [written(stdout, texts[0].clone()), written(stderr, texts[1].clone())];
            let mut host = Host::default();
            host.take(&output, chunk, length + length / 2);
            assert!(host.texts == texts);
            for writer in writers {
                writer.join().unwrap();
            }
            assert_eq!(output.take(1, chunk), b"");
            assert_eq!(output.lost(), 0);
        }
    });
}

#[test]
fn who_prints_waits_while_the_host_takes_nothing() {
    within_limit(|| {
        let (output, mut stdout, _stderr) = new();
        let (all, count) = (text(0, 2_000_000), Arc::new(AtomicUsize::new(0)));
        let writer = thread::spawn({
            let (all, count) = (all.clone(), Arc::clone(&count));
            move || {
                for piece in all.chunks(1000) {
                    stdout.write_all(piece).unwrap();
                    count.fetch_add(piece.len(), Ordering::Relaxed);
                }
            }
        });
        // The loop runs: it answers whenever it is asked.
        let (mut before, mut answers) = (0, 0);
        while answers < 4 {
            assert!(is_readable(output.sleeper(), LIMIT));
            output.look();
            let now = count.load(Ordering::Relaxed);
            answers = if now == before { answers + 1 } else { 0 };
            before = now;
        }
        let most = ROOM_BYTES + 2 * READ_BYTES + PIPE_BYTES;
        assert!((ROOM_BYTES..=most).contains(&before), "{before} bytes");
        let mut host = Host::default();
        host.take(&output, 1024, all.len());
        assert!(host.texts[0] == all);
        writer.join().unwrap();
    });
}

#[test]
fn a_loop_that_prints_does_not_wait_for_itself() {
    within_limit(|| {
        let (output, mut stdout, mut stderr) = new();
        let texts = [text(0, 3_000_000), text(7, 1_000_000)];
        let mut host = Host::default();
        for _ in 0..2 {
            host.texts = Default::default();
            stdout.write_all(&texts[0]).unwrap();
            stderr.write_all(&texts[1]).unwrap();
            host.take(&output, 16 * 1024, 4_000_000);
            assert!(host.texts == texts);
        }
        assert_eq!(output.lost(), 0);
    });
}

#[test]
fn what_a_loop_prints_without_end_is_lost_and_told() {
    within_limit(|| {
        let (output, mut stdout, _stderr) = new();
        let (piece, count) = (text(0, 1 << 20), (MOST_BYTES >> 20) + 4);
        for _ in 0..count {
            stdout.write_all(&piece).unwrap();
        }
        output.flush();
        let mut host = Host::default();
        let mut lost = 0;
        while host.total() + lost < count * piece.len() {
            assert!(output.look() || is_readable(output.sleeper(), LIMIT));
            lost += usize::try_from(output.lost()).unwrap();
            host.take_some(&output, 16 * 1024);
        }
        assert!(lost > 0);
        let all = piece.repeat(count);
        // What was there before comes whole.
        assert!(all.starts_with(&host.texts[0][..MOST_BYTES]));
    });
}

#[test]
fn a_flush_is_done_when_all_was_taken() {
    within_limit(|| {
        let (output, mut stdout, _stderr) = new();
        let mut host = Host::default();
        for length in [0, 1, 300_000, 0] {
            let all = text(0, length);
            stdout.write_all(&all).unwrap();
            output.flush();
            host.texts = Default::default();
            while !output.is_flushed() {
                assert!(output.look() || is_readable(output.sleeper(), LIMIT));
                host.take_some(&output, 1024);
            }
            assert!(host.texts[0] == all);
        }
    });
}

#[test]
fn one_may_be_closed_before_the_other() {
    within_limit(|| {
        let (output, stdout, mut stderr) = new();
        drop(stdout);
        stderr.write_all(b"still there").unwrap();
        let mut host = Host::default();
        host.take(&output, 1024, 11);
        assert_eq!(host.texts[1], b"still there");
        drop(stderr);
        output.flush();
        while !output.is_flushed() {
            assert!(is_readable(output.sleeper(), LIMIT));
            output.look();
        }
    });
}

#[test]
fn its_end_wakes_who_prints() {
    within_limit(|| {
        let (output, mut stdout, _stderr) = new();
        let writer = thread::spawn(move || while stdout.write_all(&[b'x'; 1000]).is_ok() {});
        assert!(is_readable(output.sleeper(), LIMIT));
        output.end();
        writer.join().unwrap();
        // Safe to repeat.
        output.end();
    });
}
