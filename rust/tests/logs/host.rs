//! A host: an event loop that reads its plugins' pipes as that of a Python program does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::PipeWriter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyplugin_rust::hclog::Level;
use pyplugin_rust::hclog::batch::LogStream;
use pyplugin_rust::pump::{Event, Progress, Queue, READ_BYTES, Reader, Sink, Source, SourceId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::pipes::{LIMIT, is_readable, plugin_pipe};

// The longest line that is parsed.
pub(crate) const LINE_BYTES: usize = 1 << 16;

/// What a source is made with beside its pipe.
pub(crate) struct Options {
    pub(crate) sink: Sink,
    pub(crate) has_copy: bool,
    pub(crate) is_looked_at: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { sink: Sink::Queue, has_copy: false, is_looked_at: false }
    }
}

/// Makes a source of `queue`, and gives what its plugin writes to.
pub(crate) fn source(
    id: SourceId,
    queue: &Arc<Queue>,
    options: Options,
) -> (Arc<Source>, PipeWriter) {
    let (pipe, writer) = plugin_pipe();
    let Options { sink, has_copy, is_looked_at } = options;
    let stream = LogStream::new(LINE_BYTES);
    (Source::new(id, pipe, queue, stream, sink, has_copy, is_looked_at), writer)
}

/// What came of one source.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) copy: Vec<u8>,
    pub(crate) has_ended: bool,
    pub(crate) returns: usize,
    pub(crate) failures: Vec<std::io::ErrorKind>,
}

impl Taken {
    /// Its lines, each with an LF.
    pub(crate) fn text(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect()
    }
}

/// The loop, and the thread that reads for it.
pub(crate) struct Host {
    pub(crate) queue: Arc<Queue>,
    pub(crate) reader: Reader,
    sources: BTreeMap<SourceId, Arc<Source>>,
    watched: BTreeSet<SourceId>,
    taken: BTreeMap<SourceId, Taken>,
    buffer: Vec<u8>,
    deadline: Instant,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            queue: Queue::new(false).unwrap(),
            reader: Reader::new().unwrap(),
            sources: BTreeMap::new(),
            watched: BTreeSet::new(),
            taken: BTreeMap::new(),
            buffer: vec![0; READ_BYTES],
            deadline: Instant::now() + LIMIT,
        }
    }

    /// A new source that nobody watches yet.
    pub(crate) fn add(&mut self, options: Options) -> (SourceId, PipeWriter) {
        let id = self.taken.len();
        let (source, writer) = source(id, &self.queue, options);
        self.sources.insert(id, source);
        self.taken.insert(id, Taken::default());
        (id, writer)
    }

    /// A new source that the thread reads.
    pub(crate) fn add_to_thread(&mut self, options: Options) -> (SourceId, PipeWriter) {
        let (id, writer) = self.add(options);
        self.hand_over(id);
        (id, writer)
    }

    /// Has the thread read it again, though little came. Returns whether it did not already.
    pub(crate) fn hand_over_again(&mut self, id: SourceId) -> bool {
        self.take_events();
        let was_returned = self.watched.contains(&id);
        if was_returned {
            self.hand_over(id);
        }
        was_returned
    }

    pub(crate) fn source(&self, id: SourceId) -> &Arc<Source> {
        &self.sources[&id]
    }

    pub(crate) fn taken(&self, id: SourceId) -> &Taken {
        &self.taken[&id]
    }

    /// The loop reads it.
    pub(crate) fn watch(&mut self, id: SourceId) {
        self.watched.insert(id);
    }

    /// The thread reads it.
    pub(crate) fn hand_over(&mut self, id: SourceId) {
        self.watched.remove(&id);
        self.reader.hand_over(&self.sources[&id]).unwrap();
    }

    /// Its plugin is dead: what is left of it, `most` bytes of it.
    pub(crate) fn finish(&mut self, id: SourceId, most: usize) {
        self.watched.remove(&id);
        let source = &self.sources[&id];
        if !self.reader.finish(source, most).unwrap() {
            source.drain(&mut self.buffer, most);
            self.turn();
        }
    }

    /// Nobody wants it any more.
    pub(crate) fn close(&mut self, id: SourceId) {
        self.watched.remove(&id);
        let source = self.sources.remove(&id).unwrap();
        self.reader.close(&source);
    }

    pub(crate) fn set_least(&self, id: SourceId, least: Level) {
        self.sources[&id].set_least(least);
    }

    /// One turn of the loop: waits until something is to be done, and does it.
    pub(crate) fn step(&mut self) {
        let sources: Vec<_> = self.watched.iter().map(|id| Arc::clone(&self.sources[id])).collect();
        let mut files = vec![PollFd::new(self.queue.sleeper(), PollFlags::IN)];
        files.extend(sources.iter().map(|source| PollFd::new(source.pipe(), PollFlags::IN)));
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left.max(Duration::from_millis(1))).unwrap();
        assert!(poll(&mut files, Some(&left)).unwrap() > 0, "nothing came");
        let is_ready: Vec<bool> = files.iter().map(|file| !file.revents().is_empty()).collect();
        for (source, _) in sources.iter().zip(&is_ready[1..]).filter(|(_, is_ready)| **is_ready) {
            if let Progress::Read(4096..) = source.read(&mut self.buffer) {
                self.hand_over(source.id());
            }
        }
        self.turn();
    }

    /// Leaves lines where they are, and waits for what the queue reports beside them.
    pub(crate) fn wait_for_events(&mut self) {
        assert!(is_readable(self.queue.sleeper(), LIMIT), "nothing came");
        self.queue.sleep();
        self.take_events();
    }

    /// Takes what waits.
    pub(crate) fn turn(&mut self) {
        self.queue.sleep();
        while let Some((id, _)) = self.take_batch() {
            self.restart(id);
        }
        self.take_events();
    }

    /// Takes the lines that wait, and gives the sizes of their batches. Nobody goes on for that.
    pub(crate) fn take_lines(&mut self) -> Vec<usize> {
        std::iter::from_fn(|| self.take_batch()).map(|(_, size)| size).collect()
    }

    fn take_batch(&mut self) -> Option<(SourceId, usize)> {
        let (id, batch) = self.queue.take()?;
        let taken = self.taken.get_mut(&id).unwrap();
        taken.lines.extend((0..batch.len()).map(|at| batch.get(at).unwrap().0.to_vec()));
        taken.copy.extend_from_slice(&batch.copy);
        Some((id, batch.size()))
    }

    /// The thread goes on with a source that waits for room, if there is any.
    pub(crate) fn restart(&self, id: SourceId) {
        if self.queue.restarts(id) {
            self.reader.restart(&self.sources[&id]).unwrap();
        }
    }

    /// Takes what the queue reports beside lines.
    pub(crate) fn take_events(&mut self) {
        for (id, event) in self.queue.events() {
            let taken = self.taken.get_mut(&id).unwrap();
            assert!(!taken.has_ended, "{event:?} after the end");
            match event {
                Event::Ended => {
                    taken.has_ended = true;
                    self.watched.remove(&id);
                }
                Event::Returned => {
                    taken.returns += 1;
                    self.watched.insert(id);
                }
                Event::Failed(error) => taken.failures.push(error.kind()),
            }
        }
    }

    /// Turns until `is_done`.
    pub(crate) fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) {
        while !is_done(self) {
            self.step();
        }
    }

    /// Turns until a source has ended, and gives what came of it.
    pub(crate) fn run_to_end(&mut self, id: SourceId) -> &Taken {
        self.run_until(|host| host.taken(id).has_ended);
        self.taken(id)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.reader.end();
        self.queue.end();
    }
}
