//! The queue of a loop, and sources that the loop itself reads.

use std::io::{PipeWriter, Write, pipe};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pyplugin_rust::forward::{Encoder, Format, Target};
use pyplugin_rust::hclog::Level;
use pyplugin_rust::hclog::batch::{Batch, LogStream};
use pyplugin_rust::pump::{Event, Progress, Queue, READ_BYTES, Sink, Source, SourceId};

use crate::host::{LINE_BYTES, Options, source};
use crate::pipes::{file, forward_pipe, is_readable, read_some, within_limit};

struct Plugin {
    source: Arc<Source>,
    writer: PipeWriter,
}

impl Plugin {
    fn new(id: SourceId, queue: &Arc<Queue>) -> Self {
        Self::with(id, queue, Options::default())
    }

    fn with(id: SourceId, queue: &Arc<Queue>, options: Options) -> Self {
        let (source, writer) = source(id, queue, options);
        Self { source, writer }
    }

    // Writes, and has the loop read it: one batch.
    fn say(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).unwrap();
        let progress = self.source.read(&mut vec![0; READ_BYTES]);
        assert_eq!(progress, Progress::Read(text.len()));
    }
}

fn numbered(count: usize) -> String {
    (0..count).fold(String::new(), |text, number| text + &format!("line {number}\n"))
}

fn lines(batch: &Batch) -> Vec<String> {
    let line = |at| String::from_utf8_lossy(batch.get(at).unwrap().0).into_owned();
    (0..batch.len()).map(line).collect()
}

fn take(queue: &Queue) -> Option<(SourceId, String)> {
    queue.take().map(|(id, batch)| (id, lines(&batch).join(" ")))
}

fn ended(queue: &Queue) -> Vec<SourceId> {
    let id_of = |(id, event)| match event {
        Event::Ended => id,
        other => panic!("{other:?}"),
    };
    let mut ids: Vec<SourceId> = queue.events().into_iter().map(id_of).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn what_is_read_waits_as_a_batch() {
    let queue = Queue::new(false).unwrap();
    let mut plugin = Plugin::new(7, &queue);
    assert_eq!(plugin.source.id(), 7);
    assert!(queue.is_empty());
    plugin.say("one\ntwo\nthr");
    assert!(!queue.is_empty());
    plugin.say("ee\n");
    assert_eq!(take(&queue), Some((7, "one two".into())));
    assert_eq!(take(&queue), Some((7, "three".into())));
    assert_eq!(take(&queue), None);
    assert!(queue.is_empty());
    assert_eq!(plugin.source.tail(), [&b"one"[..], b"two", b"three"]);
}

#[test]
fn a_read_of_no_whole_line_is_no_batch() {
    let queue = Queue::new(false).unwrap();
    let mut plugin = Plugin::new(0, &queue);
    plugin.say("no end yet");
    plugin.source.set_least(Level::Warn);
    plugin.say("\n[INFO] nobody wants this\n");
    assert!(queue.is_empty());
    plugin.say("[WARN] but this\n");
    assert_eq!(take(&queue), Some((0, "[WARN] but this".into())));
}

#[test]
fn a_source_that_is_looked_at_has_a_batch_at_every_read() {
    let queue = Queue::new(false).unwrap();
    let options = Options { is_looked_at: true, ..Options::default() };
    let mut plugin = Plugin::with(0, &queue, options);
    plugin.source.set_least(Level::Off);
    plugin.say("dropped\n");
    assert_eq!(take(&queue), Some((0, String::new())));
}

#[test]
fn a_copy_comes_with_the_lines_and_without() {
    let queue = Queue::new(false).unwrap();
    let options = Options { has_copy: true, ..Options::default() };
    let mut plugin = Plugin::with(0, &queue, options);
    plugin.say("one\r\n\ntw");
    let (_, batch) = queue.take().unwrap();
    assert_eq!((&batch.copy[..], batch.len()), (&b"one\n\n"[..], 1));
    plugin.source.set_least(Level::Off);
    plugin.say("o\n");
    let (_, batch) = queue.take().unwrap();
    assert_eq!((&batch.copy[..], batch.len()), (&b"two\n"[..], 0));
}

#[test]
fn the_loop_reads_to_the_end() {
    let queue = Queue::new(false).unwrap();
    let mut plugin = Plugin::new(0, &queue);
    let mut buffer = vec![0; READ_BYTES];
    assert_eq!(plugin.source.read(&mut buffer), Progress::Nothing);
    plugin.say("one\nno end");
    drop(plugin.writer);
    assert_eq!(plugin.source.read(&mut buffer), Progress::Ended);
    assert_eq!(plugin.source.read(&mut buffer), Progress::Nothing);
    assert_eq!(take(&queue), Some((0, "one".into())));
    assert!(ended(&queue).is_empty());
    assert_eq!(take(&queue), Some((0, "no end".into())));
    assert_eq!(ended(&queue), [0]);
    assert!(ended(&queue).is_empty());
}

#[test]
fn sources_take_turns() {
    let queue = Queue::new(false).unwrap();
    let [mut a, mut b, mut c] = [0, 1, 2].map(|id| Plugin::new(id, &queue));
    for number in 1..4 {
        a.say(&format!("a{number}\n"));
    }
    b.say("b1\n");
    c.say("c1\n");
    c.say("c2\n");
    let turns: Vec<String> = std::iter::from_fn(|| take(&queue)).map(|(_, text)| text).collect();
    assert_eq!(turns, ["a1", "b1", "c1", "a2", "c2", "a3"]);
    // Who had its turn waits behind who comes anew.
    a.say("a4\n");
    b.say("b2\n");
    a.say("a5\n");
    assert_eq!(take(&queue), Some((0, "a4".into())));
    c.say("c3\n");
    let turns: Vec<String> = std::iter::from_fn(|| take(&queue)).map(|(_, text)| text).collect();
    assert_eq!(turns, ["b2", "a5", "c3"]);
}

#[test]
fn what_is_put_back_comes_again_after_the_others() {
    let queue = Queue::new(false).unwrap();
    let [mut a, mut b] = [0, 1].map(|id| Plugin::new(id, &queue));
    a.say("a1\n");
    a.say("a2\n");
    b.say("b1\n");
    let (id, batch) = queue.take().unwrap();
    queue.put_back(id, batch);
    assert!(!queue.is_empty());
    let turn = || take(&queue).map(|(_, text)| text).unwrap();
    assert_eq!([turn(), turn(), turn()], ["b1", "a1", "a2"]);
    assert!(queue.is_empty());
    // Also the last of its source, and when more has come meanwhile.
    a.say("a3\n");
    b.say("b2\n");
    let (id, batch) = queue.take().unwrap();
    queue.put_back(id, batch);
    let (id, batch) = queue.take().unwrap();
    b.say("b3\n");
    queue.put_back(id, batch);
    assert_eq!([turn(), turn(), turn()], ["a3", "b2", "b3"]);
    assert!(queue.is_empty());
}

#[test]
fn the_end_comes_after_what_was_put_back() {
    let queue = Queue::new(false).unwrap();
    let mut plugin = Plugin::new(0, &queue);
    plugin.say("one\n");
    plugin.source.drain(&mut [0; 64], 64);
    let (id, mut batch) = queue.take().unwrap();
    batch.used = 1;
    queue.put_back(id, batch);
    assert!(ended(&queue).is_empty());
    let (_, batch) = queue.take().unwrap();
    assert_eq!(batch.used, 1);
    assert_eq!(ended(&queue), [0]);
}

#[test]
fn a_source_that_is_closed_leaves_nothing() {
    let queue = Queue::new(false).unwrap();
    let [mut a, mut b] = [0, 1].map(|id| Plugin::new(id, &queue));
    a.say("a1\n");
    a.say("a2\n");
    b.say("b1\n");
    let (id, batch) = queue.take().unwrap();
    a.source.close();
    queue.put_back(id, batch);
    assert!(!queue.restarts(id));
    assert_eq!(take(&queue), Some((1, "b1".into())));
    assert_eq!(take(&queue), None);
    // Nor does it read any more.
    a.writer.write_all(b"a3\n").unwrap();
    assert_eq!(a.source.read(&mut [0; 64]), Progress::Nothing);
    a.source.drain(&mut [0; 64], 64);
    assert!(queue.is_empty());
    assert!(ended(&queue).is_empty());
    assert_eq!(a.source.tail(), [b"a1", b"a2"]);
}

#[test]
fn a_source_that_is_closed_has_no_turn() {
    let queue = Queue::new(false).unwrap();
    let [mut a, mut b] = [0, 1].map(|id| Plugin::new(id, &queue));
    a.say("a1\n");
    b.say("b1\n");
    a.source.close();
    assert_eq!(take(&queue), Some((1, "b1".into())));
    assert!(queue.is_empty());
    b.say("b2\n");
    b.source.close();
    assert!(queue.is_empty());
}

#[test]
fn a_drain_takes_what_was_left_behind_and_ends() {
    let queue = Queue::new(false).unwrap();
    let options = Options { has_copy: true, ..Options::default() };
    let mut plugin = Plugin::with(0, &queue, options);
    let text = numbered(1000);
    plugin.writer.write_all(text.as_bytes()).unwrap();
    plugin.writer.write_all(b"no end").unwrap();
    // Something else holds the pipe open.
    plugin.source.drain(&mut [0; 100], 1 << 20);
    let (mut found, mut copy) = (Vec::new(), Vec::new());
    while let Some((_, batch)) = queue.take() {
        found.extend(lines(&batch));
        copy.extend_from_slice(&batch.copy);
    }
    let text = text + "no end\n";
    assert_eq!(found, text.lines().collect::<Vec<_>>());
    assert_eq!(copy, text.as_bytes());
    assert_eq!(ended(&queue), [0]);
    assert_eq!(plugin.source.read(&mut [0; 100]), Progress::Nothing);
}

#[test]
fn a_drain_of_what_is_written_for_ever_ends() {
    within_limit(|| {
        let queue = Queue::new(false).unwrap();
        let Plugin { source, mut writer } = Plugin::new(0, &queue);
        let endless = thread::spawn(move || while writer.write_all(&[b'\n'; 4096]).is_ok() {});
        while source.read(&mut vec![0; READ_BYTES]) == Progress::Nothing {
            thread::yield_now();
        }
        source.drain(&mut vec![0; READ_BYTES], 1 << 20);
        assert_eq!(ended(&queue), [0]);
        drop(source);
        endless.join().unwrap();
    });
}

#[test]
fn a_drain_writes_all_that_is_forwarded() {
    let queue = Queue::new(false).unwrap();
    let (reader, target) = forward_pipe(true);
    let encoder = Box::new(Encoder::new(Format::Verbatim, "kv"));
    let sink = Sink::Forward(encoder, Arc::new(Mutex::new(Target::new(target))));
    let mut plugin = Plugin::with(0, &queue, Options { sink, ..Options::default() });
    plugin.writer.write_all(b"one\ntwo").unwrap();
    plugin.source.drain(&mut [0; 64], 64);
    assert_eq!(read_some(&reader, 100), b"one\ntwo\n");
    assert!(queue.is_empty());
    assert_eq!(ended(&queue), [0]);
}

#[test]
fn the_loop_is_woken_once_until_it_looks() {
    let queue = Queue::new(false).unwrap();
    let is_woken = || is_readable(queue.sleeper(), Duration::ZERO);
    let mut plugins: Vec<Plugin> = (0..4).map(|id| Plugin::new(id, &queue)).collect();
    // What the loop reads wakes nobody.
    plugins[0].say("one\n");
    assert!(!is_woken());
    for plugin in &plugins[..3] {
        plugin.source.drain(&mut [0; 64], 64);
        assert!(is_woken());
    }
    queue.sleep();
    assert!(!is_woken());
    queue.sleep();
    assert!(!is_woken());
    plugins[3].source.drain(&mut [0; 64], 64);
    assert!(is_woken());
    queue.sleep();
    assert!(!is_woken());
    queue.end();
    assert!(is_woken());
}

#[test]
fn who_waits_is_woken_once_until_the_loop_looks() {
    within_limit(|| {
        let queue = Queue::new(true).unwrap();
        let plugins: Vec<Plugin> = (0..3).map(|id| Plugin::new(id, &queue)).collect();
        plugins[0].source.drain(&mut [0; 64], 64);
        plugins[1].source.drain(&mut [0; 64], 64);
        assert!(queue.wait());
        assert!(!is_readable(queue.sleeper(), Duration::ZERO));
        queue.sleep();
        plugins[2].source.drain(&mut [0; 64], 64);
        assert!(queue.wait());
        queue.sleep();
        queue.end();
        assert!(!queue.wait());
    });
}

#[test]
fn who_waits_is_released_at_the_end() {
    within_limit(|| {
        let queue = Queue::new(true).unwrap();
        let waiter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.wait()
        });
        queue.end();
        assert!(!waiter.join().unwrap());
    });
}

#[test]
fn who_waits_is_released_at_the_end_though_the_loop_has_not_looked() {
    within_limit(|| {
        let queue = Queue::new(true).unwrap();
        let plugin = Plugin::new(0, &queue);
        plugin.source.drain(&mut [0; 64], 64);
        assert!(queue.wait());
        // The loop was told, and ends the queue before its turn.
        queue.end();
        assert!(!queue.wait());
    });
}

#[test]
fn a_thread_of_its_own_reads_a_pipe_that_blocks() {
    within_limit(|| {
        let queue = Queue::new(true).unwrap();
        let (reader, mut writer) = pipe().unwrap();
        let stream = LogStream::new(LINE_BYTES);
        let source = Source::new(0, file(reader), &queue, stream, Sink::Queue, true, false);
        // It fits into the pipe, but its records do not fit into the queue: the thread waits for room.
        writer.write_all(&b"x\n".repeat(1 << 15)).unwrap();
        let reader = thread::spawn({
            let source = Arc::clone(&source);
            move || source.read_to_end()
        });
        while queue.is_empty() {
            assert!(queue.wait());
        }
        let text = numbered(100_000) + "no end\n";
        let plugin = thread::spawn({
            let text = text.clone();
            move || writer.write_all(text.trim_end().as_bytes()).unwrap()
        });
        let (mut found, mut copy, mut is_over) = (Vec::new(), Vec::new(), false);
        while !is_over {
            queue.sleep();
            while let Some((id, batch)) = queue.take() {
                found.extend(lines(&batch));
                copy.extend_from_slice(&batch.copy);
                queue.restarts(id);
            }
            is_over = !ended(&queue).is_empty();
            assert!(is_over || queue.wait());
        }
        let text = "x\n".repeat(1 << 15) + &text;
        assert!(found == text.lines().collect::<Vec<_>>());
        assert!(copy == text.as_bytes());
        plugin.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_thread_that_waits_for_room_ends_with_its_source() {
    within_limit(|| {
        let queue = Queue::new(true).unwrap();
        let (reader, mut writer) = pipe().unwrap();
        let stream = LogStream::new(LINE_BYTES);
        let source = Source::new(0, file(reader), &queue, stream, Sink::Queue, false, false);
        let thread = thread::spawn({
            let source = Arc::clone(&source);
            move || source.read_to_end()
        });
        // The thread comes to wait for room, as above.
        writer.write_all(&b"x\n".repeat(1 << 15)).unwrap();
        assert!(queue.wait());
        source.close();
        drop((source, writer));
        thread.join().unwrap();
    });
}
