//! The thread that reads for the loop.

use std::io::{ErrorKind, PipeWriter, Read, Write};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pyplugin_rust::forward::{Encoder, Format, Target};
use pyplugin_rust::hclog::Level;
use pyplugin_rust::pump::{Queue, READ_BYTES, Reader, Sink, SourceId};

use crate::host::{Host, Options, source};
use crate::pipes::{
    LIMIT, forward_pipe, is_readable, read_some, set_blocking, set_nonblocking, within_limit,
};

// What a pipe holds on Linux.
const PIPE_BYTES: usize = 1 << 16;
// What the queue of a loop holds of all its sources.
const QUEUE_BYTES: usize = 1 << 20;
// More than a dead process can have left in a pipe.
const MOST: usize = 1 << 20;

// Writes until nothing more fits, and gives how much that was.
fn fill_up(mut file: &std::fs::File) -> usize {
    std::iter::from_fn(|| file.write(&[b'-'; 4096]).ok()).sum()
}

// Numbered lines, each with an LF.
fn numbered(name: &str, count: usize) -> Vec<u8> {
    (0..count).flat_map(|number| format!("{name} {number} of many\n").into_bytes()).collect()
}

fn writer_of(mut writer: PipeWriter, text: Vec<u8>) -> JoinHandle<()> {
    thread::spawn(move || writer.write_all(&text).unwrap())
}

// Writes lines until nobody can read them any more.
fn endless(mut writer: PipeWriter) -> JoinHandle<()> {
    thread::spawn(move || {
        let text = numbered("endless", 200);
        while writer.write_all(&text).is_ok() {}
    })
}

fn forward_to(target: &Arc<Mutex<Target>>, format: Format) -> Options {
    let encoder = Box::new(Encoder::new(format, "kv"));
    Options { sink: Sink::Forward(encoder, Arc::clone(target)), ..Options::default() }
}

fn target_of(file: std::fs::File) -> Arc<Mutex<Target>> {
    Arc::new(Mutex::new(Target::new(file)))
}

// A source whose lines pass the thread alone. What is said to it comes back when the thread has seen
// whatever could be read before.
struct Marker {
    writer: PipeWriter,
    reader: std::io::PipeReader,
}

impl Marker {
    fn new(host: &mut Host) -> Self {
        let (reader, file) = forward_pipe(false);
        let (_, writer) = host.add_to_thread(forward_to(&target_of(file), Format::Verbatim));
        Self { writer, reader }
    }

    fn pass(&mut self) {
        // By the second time the thread has come to an end of its first round.
        for _ in 0..2 {
            self.writer.write_all(b"mark\n").unwrap();
            assert_eq!(read_some(&self.reader, 100), b"mark\n");
        }
    }
}

// Fills the pipe of a source that the thread reads until it reads no more of it, and gives how much
// that took.
fn fill(
    host: &mut Host,
    id: SourceId,
    writer: &mut PipeWriter,
    text: &[u8],
    marker: &mut Marker,
) -> usize {
    set_nonblocking(&*writer);
    let mut rest = text;
    let mut is_stuck = false;
    while !rest.is_empty() {
        match writer.write(rest) {
            Ok(count) => {
                rest = &rest[count..];
                is_stuck = false;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                if std::mem::replace(&mut is_stuck, true) && !host.hand_over_again(id) {
                    break;
                }
                marker.pass();
            }
        }
    }
    text.len() - rest.len()
}

// Writes on, as a plugin whose pipe blocks, and gives back the text.
fn write_on(writer: PipeWriter, text: Vec<u8>, from: usize) -> JoinHandle<Vec<u8>> {
    set_blocking(&writer);
    let mut writer = writer;
    thread::spawn(move || {
        writer.write_all(&text[from..]).unwrap();
        text
    })
}

#[test]
fn a_storm_comes_whole_and_in_order_and_then_its_end() {
    within_limit(|| {
        let mut host = Host::new();
        let text = numbered("line", 100_000);
        let (id, writer) = host.add_to_thread(Options { has_copy: true, ..Options::default() });
        let plugin = writer_of(writer, [&text[..], b"no end"].concat());
        let taken = host.run_to_end(id);
        let expected = [&text[..], b"no end\n"].concat();
        assert!(taken.text() == expected);
        assert!(taken.copy == expected);
        plugin.join().unwrap();
        assert_eq!(host.source(id).tail().last().map(Vec::as_slice), Some(&b"no end"[..]));
    });
}

#[test]
fn storms_of_many_come_whole_and_in_order() {
    within_limit(|| {
        let mut host = Host::new();
        let name = |id: SourceId| format!("plugin {id}");
        // More than there are least shares of the queue.
        let ids = 0..300;
        let plugins: Vec<JoinHandle<()>> = ids
            .clone()
            .map(|id| {
                let (added, writer) = host.add_to_thread(Options::default());
                assert_eq!(added, id);
                let lines = if id % 50 == 0 { 5000 } else { 100 };
                writer_of(writer, numbered(&name(id), lines))
            })
            .collect();
        for id in ids {
            let lines = if id % 50 == 0 { 5000 } else { 100 };
            assert!(host.run_to_end(id).text() == numbered(&name(id), lines), "source {id}");
        }
        for plugin in plugins {
            plugin.join().unwrap();
        }
    });
}

#[test]
fn a_quiet_source_is_given_back_and_goes_to_and_fro_without_a_loss() {
    within_limit(|| {
        let mut host = Host::new();
        let (id, mut writer) = host.add(Options::default());
        let mut expected = Vec::new();
        for round in 0..6 {
            let text = numbered(&format!("round {round}"), 3 + 20 * round);
            expected.extend_from_slice(&text);
            // Before it is handed over, while it is, and when it is back.
            let (before, rest) = text.split_at(text.len() / 3);
            let (meanwhile, after) = rest.split_at(rest.len() / 2);
            writer.write_all(before).unwrap();
            host.hand_over(id);
            writer.write_all(meanwhile).unwrap();
            host.run_until(|host| host.taken(id).returns == round + 1);
            writer.write_all(after).unwrap();
            host.run_until(|host| host.taken(id).text() == expected);
        }
        // Who was given back is not read by the thread.
        drop(writer);
        assert!(!host.taken(id).has_ended);
        host.run_to_end(id);
        assert_eq!(host.taken(id).returns, 6);
    });
}

#[test]
fn a_source_is_looked_at_for_a_while_before_it_is_given_back() {
    within_limit(|| {
        let mut host = Host::new();
        let (id, _writer) = host.add(Options::default());
        let start = Instant::now();
        host.hand_over(id);
        host.run_until(|host| host.taken(id).returns == 1);
        assert!(start.elapsed() >= Duration::from_millis(10), "{:?}", start.elapsed());
    });
}

#[test]
fn a_level_counts_from_the_next_read_on() {
    within_limit(|| {
        let mut host = Host::new();
        let (id, mut writer) = host.add_to_thread(Options::default());
        host.set_least(id, Level::Error);
        writer.write_all(b"[WARN] dropped\n[ERROR] one\n").unwrap();
        host.run_until(|host| host.taken(id).lines.len() == 1);
        host.set_least(id, Level::Warn);
        writer.write_all(b"[INFO] dropped\n[WARN] two\n").unwrap();
        drop(writer);
        assert_eq!(host.run_to_end(id).lines, [&b"[ERROR] one"[..], b"[WARN] two"]);
    });
}

#[test]
fn nobody_reads_on_while_a_share_waits() {
    within_limit(|| {
        for count in [2, 4] {
            let text = numbered("line", 100_000);
            let mut host = Host::new();
            let mut marker = Marker::new(&mut host);
            let (id, mut writer) = host.add_to_thread(Options::default());
            for _ in 2..count {
                host.add(Options::default());
            }
            let taken = fill(&mut host, id, &mut writer, &text, &mut marker);
            assert_eq!(fill(&mut host, id, &mut writer, &text[taken..], &mut marker), 0);
            let sizes = host.take_lines();
            let (size, share) = (sizes.iter().sum::<usize>(), QUEUE_BYTES / count);
            assert!(size >= share && size - sizes.last().unwrap() < share, "{sizes:?}");
            // It goes on when the loop does, from where it stopped.
            host.restart(id);
            let sent = write_on(writer, text, taken);
            assert!(host.run_to_end(id).text() == sent.join().unwrap());
        }
    });
}

#[test]
fn a_source_that_waits_for_room_is_not_given_back() {
    within_limit(|| {
        let mut host = Host::new();
        let mut marker = Marker::new(&mut host);
        let (full, mut writer) = host.add_to_thread(Options::default());
        fill(&mut host, full, &mut writer, &numbered("line", 100_000), &mut marker);
        let returns = host.taken(full).returns;
        // Meanwhile others are.
        let (id, _writer) = host.add_to_thread(Options::default());
        for round in 1..3 {
            while host.taken(id).returns < round {
                host.wait_for_events();
            }
            host.hand_over(id);
        }
        assert_eq!(host.taken(full).returns, returns);
    });
}

#[test]
fn a_source_goes_on_when_half_of_its_share_is_free() {
    within_limit(|| {
        let mut host = Host::new();
        let mut marker = Marker::new(&mut host);
        let (id, mut writer) = host.add_to_thread(Options::default());
        for piece in numbered("line", 100_000).chunks(4096) {
            host.hand_over_again(id);
            if fill(&mut host, id, &mut writer, piece, &mut marker) < piece.len() {
                break;
            }
            // Each is a batch.
            marker.pass();
        }
        // So it is not given back while there is some room.
        assert!(host.reader.finish(host.source(id), MOST).unwrap());
        // The thread has looked, and found that there is none.
        marker.pass();
        assert!(!host.queue.restarts(id));
        let mut sizes = Vec::new();
        while !host.queue.restarts(id) {
            sizes.push(host.queue.take().unwrap().1.size());
        }
        let left: usize =
            std::iter::from_fn(|| host.queue.take()).map(|(_, batch)| batch.size()).sum();
        // Two sources share the queue.
        let half = QUEUE_BYTES / 4;
        assert!(
            left <= half && left + sizes.last().unwrap() > half,
            "{left} bytes after {sizes:?}"
        );
        assert!(!host.queue.restarts(id));
    });
}

#[test]
fn a_source_that_waits_for_room_delays_no_other() {
    within_limit(|| {
        let mut host = Host::new();
        let mut marker = Marker::new(&mut host);
        let (full, mut writer) = host.add_to_thread(Options::default());
        let text = numbered("line", 100_000);
        let taken = fill(&mut host, full, &mut writer, &text, &mut marker);
        assert!(taken < text.len());
        let (id, other) = host.add_to_thread(Options::default());
        let other = writer_of(other, numbered("other", 1000));
        // Before anything is taken of the one that waits.
        other.join().unwrap();
        marker.pass();
        marker.pass();
        host.run_until(|host| host.taken(id).lines.len() == 1000);
        drop(writer);
        assert!(host.run_to_end(full).text().starts_with(&text[..taken - 100]));
    });
}

#[test]
fn what_a_dead_process_left_is_read_though_its_pipe_is_held_open() {
    within_limit(|| {
        let mut host = Host::new();
        for is_in_thread in [true, false] {
            let (id, mut writer) = host.add(Options::default());
            if is_in_thread {
                host.hand_over(id);
            } else {
                host.watch(id);
            }
            let text = numbered("line", 1000);
            writer.write_all(&text).unwrap();
            writer.write_all(b"no end").unwrap();
            host.finish(id, MOST);
            assert!(host.run_to_end(id).text() == [&text[..], b"no end\n"].concat());
            // Nobody reads what comes now.
            writer.write_all(b"too late\n").unwrap();
            assert!(!host.reader.finish(host.source(id), MOST).unwrap());
        }
    });
}

#[test]
fn a_source_that_is_back_is_finished_by_the_loop() {
    within_limit(|| {
        let mut host = Host::new();
        let (id, mut writer) = host.add_to_thread(Options::default());
        host.run_until(|host| host.taken(id).returns == 1);
        writer.write_all(b"left\n").unwrap();
        assert!(!host.reader.finish(host.source(id), MOST).unwrap());
        host.finish(id, MOST);
        assert_eq!(host.run_to_end(id).lines, [b"left"]);
    });
}

#[test]
fn what_is_written_for_ever_ends_with_the_process() {
    within_limit(|| {
        let mut host = Host::new();
        let (id, writer) = host.add_to_thread(Options::default());
        let plugin = endless(writer);
        host.run_until(|host| host.taken(id).lines.len() > 1000);
        host.finish(id, MOST);
        host.run_to_end(id);
        host.close(id);
        plugin.join().unwrap();
    });
}

#[test]
fn a_storm_may_be_closed_at_any_time() {
    within_limit(|| {
        for lines in [0, 1, 100, 10_000] {
            let mut host = Host::new();
            let (id, writer) = host.add_to_thread(Options::default());
            let (other, other_writer) = host.add_to_thread(Options::default());
            let plugin = endless(writer);
            host.run_until(|host| host.taken(id).lines.len() >= lines);
            host.close(id);
            // Its pipe is closed with it, even before the thread ends.
            plugin.join().unwrap();
            let other_plugin = writer_of(other_writer, numbered("other", 1000));
            assert_eq!(host.run_to_end(other).lines.len(), 1000);
            other_plugin.join().unwrap();
        }
    });
}

#[test]
fn the_thread_ends_in_a_storm() {
    within_limit(|| {
        let mut host = Host::new();
        let (id, writer) = host.add_to_thread(Options::default());
        let plugin = endless(writer);
        host.run_until(|host| host.taken(id).lines.len() > 1000);
        host.reader.end();
        host.reader.end();
        drop(host);
        plugin.join().unwrap();
    });
}

#[test]
fn a_thread_that_never_ran_ends() {
    within_limit(|| {
        let reader = Reader::new().unwrap();
        reader.end();
        let queue = Queue::new(false).unwrap();
        let (source, _writer) = source(0, &queue, Options::default());
        reader.close(&source);
    });
}

#[test]
fn a_closed_source_is_not_taken() {
    within_limit(|| {
        let mut host = Host::new();
        let (source, mut writer) = source(100, &host.queue, Options::default());
        source.close();
        host.reader.hand_over(&source).unwrap();
        writer.write_all(b"x\n").unwrap();
        Marker::new(&mut host).pass();
        assert!(host.queue.is_empty());
        assert!(!host.reader.finish(&source, MOST).unwrap());
    });
}

#[test]
fn forwarded_lines_need_no_loop() {
    within_limit(|| {
        for blocks in [true, false] {
            let mut host = Host::new();
            let (mut reader, file) = forward_pipe(blocks);
            let target = target_of(file);
            let (id, writer) = host.add_to_thread(forward_to(&target, Format::Verbatim));
            drop(target);
            let text = numbered("line", 50_000);
            let plugin = writer_of(writer, text.clone());
            let mut found = vec![0; text.len()];
            reader.read_exact(&mut found).unwrap();
            assert!(found == text);
            plugin.join().unwrap();
            // All there is to it is its end.
            let taken = host.run_to_end(id);
            assert_eq!((taken.lines.len(), taken.copy.len(), taken.returns), (0, 0, 0));
            // The descriptor goes with the source.
            host.close(id);
            assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        }
    });
}

#[test]
fn a_target_that_nobody_reads_holds_up_its_own_plugin_only() {
    within_limit(|| {
        for blocks in [true, false] {
            let mut host = Host::new();
            let mut marker = Marker::new(&mut host);
            let (reader, file) = forward_pipe(blocks);
            let target = target_of(file);
            let (id, mut writer) = host.add_to_thread(forward_to(&target, Format::Hclog));
            let (other, other_writer) = host.add_to_thread(Options::default());
            let text = numbered("line", 20_000);
            let taken = fill(&mut host, id, &mut writer, &text, &mut marker);
            assert!(
                taken > PIPE_BYTES && taken <= 2 * PIPE_BYTES + 2 * READ_BYTES,
                "{taken} bytes"
            );
            assert!(!target.lock().unwrap().is_idle());
            // The queue goes on.
            let other_plugin = writer_of(other_writer, numbered("other", 10_000));
            assert_eq!(host.run_to_end(other).lines.len(), 10_000);
            other_plugin.join().unwrap();
            // And so does this one, as soon as somebody reads.
            let plugin = write_on(writer, text, taken);
            let (mut found, mut lines) = (Vec::new(), 0);
            while lines < 20_000 {
                let piece = read_some(&reader, 50_000);
                lines += piece.split(|byte| *byte == b'\n').count() - 1;
                found.extend(piece);
            }
            let text = plugin.join().unwrap();
            let messages: Vec<u8> = found
                .split_inclusive(|byte| *byte == b'\n')
                .flat_map(|line| {
                    let entry: serde_json::Value = serde_json::from_slice(line).unwrap();
                    format!("{}\n", entry["@message"].as_str().unwrap()).into_bytes()
                })
                .collect();
            assert!(messages == text);
            host.run_to_end(id);
            assert!(target.lock().unwrap().is_idle());
        }
    });
}

#[test]
fn the_end_of_what_is_forwarded_waits_for_whoever_reads_it() {
    within_limit(|| {
        for is_dead in [true, false] {
            let mut host = Host::new();
            let mut marker = Marker::new(&mut host);
            let (reader, file) = forward_pipe(false);
            let target = target_of(file);
            let (id, mut writer) = host.add_to_thread(forward_to(&target, Format::Verbatim));
            let text = numbered("line", 6000);
            fill(&mut host, id, &mut writer, &text[..PIPE_BYTES], &mut marker);
            fill(&mut host, id, &mut writer, &text[PIPE_BYTES..], &mut marker);
            writer.write_all(b"no end").unwrap();
            // Held open by another process, or not.
            let writer = (!is_dead).then_some(writer);
            if !is_dead {
                host.finish(id, MOST);
            }
            marker.pass();
            host.turn();
            assert!(!host.taken(id).has_ended);
            let mut found = Vec::new();
            while !found.ends_with(b"no end\n") {
                found.extend(read_some(&reader, 10_000));
            }
            assert!(found == [&text[..], b"no end\n"].concat());
            host.run_to_end(id);
            drop(writer);
        }
    });
}

#[test]
fn what_is_written_for_ever_ends_with_the_process_though_it_is_forwarded() {
    within_limit(|| {
        let mut host = Host::new();
        let mut marker = Marker::new(&mut host);
        let (reader, file) = forward_pipe(false);
        // What is forwarded of one read does not fit into the pipe by far.
        let (id, mut writer) = host.add_to_thread(forward_to(&target_of(file), Format::Hclog));
        let plugin = thread::spawn(move || while writer.write_all(&b"x\n".repeat(2048)).is_ok() {});
        read_some(&reader, 1);
        host.finish(id, 1);
        // One read before, one that is the last, and what is kept of another.
        let mut left = 3 * READ_BYTES / 2 * 120;
        while !host.taken(id).has_ended {
            let count = read_some(&reader, 1 << 16).len();
            assert!(count <= left, "it reads on for ever");
            left -= count;
            marker.pass();
            host.take_events();
        }
        host.close(id);
        plugin.join().unwrap();
    });
}

#[test]
fn a_source_that_is_quiet_ends_with_its_process_though_its_pipe_is_held_open() {
    within_limit(|| {
        let mut host = Host::new();
        let mut marker = Marker::new(&mut host);
        let (reader, file) = forward_pipe(false);
        let (id, mut writer) = host.add_to_thread(forward_to(&target_of(file), Format::Verbatim));
        writer.write_all(b"one\nno end").unwrap();
        marker.pass();
        assert_eq!(read_some(&reader, 100), b"one\n");
        host.finish(id, MOST);
        host.run_to_end(id);
        assert_eq!(read_some(&reader, 100), b"no end\n");
        // While the thread reads for the loop, too, which it does as long as much comes.
        let (id, mut writer) = host.add_to_thread(Options::default());
        writer.write_all(&numbered("line", 3000)).unwrap();
        marker.pass();
        host.finish(id, MOST);
        assert!(host.run_to_end(id).text() == numbered("line", 3000));
    });
}

#[test]
fn a_line_that_waits_for_its_reader_needs_no_other_to_come() {
    within_limit(|| {
        for blocks in [true, false] {
            let mut host = Host::new();
            let mut marker = Marker::new(&mut host);
            let (reader, file) = forward_pipe(false);
            // Others write there, too.
            let filler = fill_up(&file);
            if blocks {
                set_blocking(&file);
            }
            let (_, mut writer) =
                host.add_to_thread(forward_to(&target_of(file), Format::Verbatim));
            writer.write_all(b"one\n").unwrap();
            marker.pass();
            let mut found = Vec::new();
            while found.len() < filler + 4 {
                found.extend(read_some(&reader, PIPE_BYTES));
            }
            assert_eq!(&found[filler..], b"one\n");
        }
    });
}

#[test]
fn plugins_take_turns_at_one_target() {
    within_limit(|| {
        let mut host = Host::new();
        let (reader, file) = forward_pipe(true);
        let target = target_of(file);
        let texts: Vec<Vec<u8>> = (0..4).map(|id| numbered(&format!("{id}"), 5000)).collect();
        let plugins: Vec<JoinHandle<()>> = texts
            .iter()
            .map(|text| {
                let (_, writer) = host.add_to_thread(forward_to(&target, Format::Verbatim));
                writer_of(writer, text.clone())
            })
            .collect();
        let total: usize = texts.iter().map(Vec::len).sum();
        let mut found = Vec::new();
        while found.len() < total {
            found.extend(read_some(&reader, 30_000));
        }
        for (id, text) in texts.iter().enumerate() {
            let name = format!("{id} ");
            let own: Vec<u8> = found
                .split_inclusive(|byte| *byte == b'\n')
                .filter(|line| line.starts_with(name.as_bytes()))
                .flatten()
                .copied()
                .collect();
            assert!(own == *text, "plugin {id}");
            host.run_to_end(id);
        }
        for plugin in plugins {
            plugin.join().unwrap();
        }
    });
}

#[test]
fn a_copy_of_what_is_forwarded_waits_for_the_loop() {
    within_limit(|| {
        let mut host = Host::new();
        let mut marker = Marker::new(&mut host);
        let (reader, file) = forward_pipe(false);
        let options = forward_to(&target_of(file), Format::Verbatim);
        let (id, mut writer) = host.add_to_thread(Options { has_copy: true, ..options });
        let drain = thread::spawn(move || {
            let mut found = Vec::new();
            (&reader).read_to_end(&mut found).unwrap();
            found
        });
        let text = numbered("line", 100_000);
        let taken = fill(&mut host, id, &mut writer, &text, &mut marker);
        assert!(taken <= QUEUE_BYTES + PIPE_BYTES + READ_BYTES, "{taken} bytes");
        let plugin = write_on(writer, text, taken);
        host.run_to_end(id);
        let text = plugin.join().unwrap();
        assert!(host.taken(id).copy == text);
        assert!(host.taken(id).lines.is_empty());
        host.close(id);
        assert!(drain.join().unwrap() == text);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_device_that_takes_nothing_is_told_once_and_holds_nobody_up() {
    within_limit(|| {
        let mut host = Host::new();
        let file = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (id, writer) = host.add_to_thread(forward_to(&target_of(file), Format::Logfmt));
        let plugin = writer_of(writer, numbered("line", 10_000));
        assert_eq!(host.run_to_end(id).failures, [ErrorKind::StorageFull]);
        plugin.join().unwrap();
    });
}

#[test]
fn a_reader_that_is_gone_is_told_once_and_holds_nobody_up() {
    within_limit(|| {
        let mut host = Host::new();
        let (reader, file) = forward_pipe(true);
        drop(reader);
        let (id, writer) = host.add_to_thread(forward_to(&target_of(file), Format::Verbatim));
        let plugin = writer_of(writer, numbered("line", 10_000));
        assert_eq!(host.run_to_end(id).failures, [ErrorKind::BrokenPipe]);
        plugin.join().unwrap();
    });
}

#[test]
fn each_plugin_of_a_target_is_told_that_its_reader_is_gone() {
    within_limit(|| {
        let mut host = Host::new();
        let (reader, file) = forward_pipe(true);
        let target = target_of(file);
        drop(reader);
        let plugins = [0, 1].map(|_| {
            let (id, writer) = host.add_to_thread(forward_to(&target, Format::Verbatim));
            (id, writer_of(writer, numbered("line", 100)))
        });
        for (id, plugin) in plugins {
            assert_eq!(host.run_to_end(id).failures, [ErrorKind::BrokenPipe], "source {id}");
            plugin.join().unwrap();
        }
    });
}

#[test]
fn a_reader_that_goes_while_lines_wait_for_it_is_told() {
    within_limit(|| {
        let mut host = Host::new();
        let mut marker = Marker::new(&mut host);
        let (reader, file) = forward_pipe(false);
        let target = target_of(file);
        let (id, mut writer) = host.add_to_thread(forward_to(&target, Format::Verbatim));
        let text = numbered("line", 20_000);
        let taken = fill(&mut host, id, &mut writer, &text, &mut marker);
        assert!(taken < text.len());
        drop(reader);
        let plugin = write_on(writer, text, taken);
        assert_eq!(host.run_to_end(id).failures, [ErrorKind::BrokenPipe]);
        plugin.join().unwrap();
    });
}

#[test]
fn last_lines_that_are_lost_are_told() {
    within_limit(|| {
        let mut host = Host::new();
        let mut marker = Marker::new(&mut host);
        let (reader, file) = forward_pipe(false);
        fill_up(&file);
        let (id, mut writer) = host.add_to_thread(forward_to(&target_of(file), Format::Verbatim));
        writer.write_all(b"no end").unwrap();
        drop(writer);
        marker.pass();
        drop(reader);
        assert_eq!(host.run_to_end(id).failures, [ErrorKind::BrokenPipe]);
    });
}

#[test]
fn who_waits_for_a_target_may_be_closed() {
    within_limit(|| {
        let mut host = Host::new();
        let mut marker = Marker::new(&mut host);
        let (reader, file) = forward_pipe(false);
        let target = target_of(file);
        let writers = [0, 1].map(|_| {
            let (id, writer) = host.add_to_thread(forward_to(&target, Format::Verbatim));
            (id, writer)
        });
        let text = numbered("line", 20_000);
        let [(first, mut first_writer), (second, mut second_writer)] = writers;
        fill(&mut host, first, &mut first_writer, &text, &mut marker);
        second_writer.write_all(b"second\n").unwrap();
        marker.pass();
        host.close(first);
        // The other one still comes.
        let mut found = Vec::new();
        while !found.ends_with(b"second\n") {
            found.extend(read_some(&reader, 50_000));
        }
        drop(second_writer);
        host.run_to_end(second);
        host.close(second);
        assert!(!is_readable(&reader, Duration::ZERO));
        drop(target);
        assert_eq!((&reader).read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_target_that_nobody_reads_is_let_go_with_its_last_plugin() {
    within_limit(|| {
        let mut host = Host::new();
        let mut marker = Marker::new(&mut host);
        let (reader, file) = forward_pipe(false);
        let target = target_of(file);
        let (id, mut writer) = host.add_to_thread(forward_to(&target, Format::Verbatim));
        fill(&mut host, id, &mut writer, &numbered("line", 20_000), &mut marker);
        assert!(!target.lock().unwrap().is_idle());
        host.close(id);
        marker.pass();
        assert_eq!(Arc::strong_count(&target), 1);
        assert!(is_readable(&reader, LIMIT));
    });
}
