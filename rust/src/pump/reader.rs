//! The thread of the pump.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use super::{
    Arc, Event, Mutex, Owner, Progress, READ_BYTES, Sink, Source, SourceId, SourceState, Target,
    io, lock,
};

// A source of which less than QUIET_BYTES come within QUIET_TIME is given back to its loop.
const QUIET_TIME: Duration = Duration::from_millis(10);
const QUIET_BYTES: usize = 16 * 1024;

// Sources count from 0, targets down from the top.
const WAKE: Token = Token(usize::MAX);

/// The one thread that reads for all loops of a process, started by the first source it is given.
pub struct Reader {
    registry: Registry,
    waker: Waker,
    shared: Arc<Shared>,
    thread: Mutex<Thread>,
}

enum Thread {
    // None after it could not be started.
    Waiting(Option<Poll>),
    Running(JoinHandle<()>),
    Over,
}

#[derive(Default)]
struct Shared {
    state: Mutex<SharedState>,
}

#[derive(Default)]
struct SharedState {
    sources: BTreeMap<SourceId, Arc<Source>>,
    // Targets that could not be written to, and who waits for each.
    blocked: BTreeMap<usize, Blocked>,
    is_over: bool,
}

struct Blocked {
    target: Arc<Mutex<Target>>,
    sources: Vec<SourceId>,
}

impl Reader {
    /// A reader whose thread does not run yet.
    ///
    /// # Errors
    /// The system refuses what it needs: descriptors, mostly.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, WAKE)?;
        let thread = Mutex::new(Thread::Waiting(Some(poll)));
        Ok(Self { registry, waker, shared: Arc::default(), thread })
    }

    /// Has the thread read `source` from now on.
    ///
    /// # Errors
    /// The system refuses to watch its pipe, or to start a thread.
    pub fn hand_over(&self, source: &Arc<Source>) -> io::Result<()> {
        self.start()?;
        let mut state = lock(&source.state);
        if state.owner == Owner::Nobody {
            return Ok(());
        }
        lock(&self.shared.state).sources.insert(source.id, Arc::clone(source));
        let pipe = source.pipe.as_raw_fd();
        self.registry.register(&mut SourceFd(&pipe), Token(source.id), Interest::READABLE)?;
        state.owner = Owner::Thread;
        state.recent = 0;
        // It may be asleep without a limit.
        self.waker.wake()
    }

    /// Has the thread go on with a source that stopped.
    ///
    /// # Errors
    /// The system refuses.
    pub fn restart(&self, source: &Source) -> io::Result<()> {
        let state = lock(&source.state);
        if state.owner == Owner::Thread { arm(&self.registry, source) } else { Ok(()) }
    }

    /// The process of `source` has ended: the thread reads what is left, `most` bytes of it, and ends.
    ///
    /// Returns whether the thread has it; the loop ends it otherwise.
    ///
    /// # Errors
    /// The system refuses.
    pub fn finish(&self, source: &Source, most: usize) -> io::Result<bool> {
        let mut state = lock(&source.state);
        if state.owner != Owner::Thread {
            return Ok(false);
        }
        state.left = Some(most);
        arm(&self.registry, source)?;
        Ok(true)
    }

    /// Forgets a source, whoever reads it.
    pub fn close(&self, source: &Source) {
        let was_here = lock(&source.state).owner == Owner::Thread;
        source.close();
        if was_here {
            drop(self.registry.deregister(&mut SourceFd(&source.pipe.as_raw_fd())));
        }
        lock(&self.shared.state).sources.remove(&source.id);
    }

    /// Ends the thread; it is gone when this returns.
    pub fn end(&self) {
        lock(&self.shared.state).is_over = true;
        drop(self.waker.wake());
        let thread = std::mem::replace(&mut *lock(&self.thread), Thread::Over);
        if let Thread::Running(thread) = thread {
            drop(thread.join());
        }
    }

    fn start(&self) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        let Thread::Waiting(poll) = &mut *thread else { return Ok(()) };
        let worker = Worker {
            poll: poll.take().ok_or(io::ErrorKind::BrokenPipe)?,
            registry: self.registry.try_clone()?,
            shared: Arc::clone(&self.shared),
        };
        let builder = std::thread::Builder::new().name("pyplugin-logs".into());
        *thread = Thread::Running(builder.spawn(move || worker.run())?);
        Ok(())
    }
}

fn arm(registry: &Registry, source: &Source) -> io::Result<()> {
    let pipe = source.pipe.as_raw_fd();
    registry.reregister(&mut SourceFd(&pipe), Token(source.id), Interest::READABLE)
}

struct Worker {
    poll: Poll,
    registry: Registry,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        let mut buffer = vec![0; READ_BYTES];
        let mut next_look: Option<Instant> = None;
        loop {
            let wait = next_look.map(|at| at.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return;
            }
            for event in &events {
                self.serve(event.token(), &mut buffer);
            }
            if lock(&self.shared.state).is_over {
                return;
            }
            let now = Instant::now();
            if next_look.is_none_or(|at| at <= now) {
                next_look = self.give_back().then(|| now.checked_add(QUIET_TIME)).flatten();
            }
        }
    }

    fn serve(&self, token: Token, buffer: &mut [u8]) {
        let source = lock(&self.shared.state).sources.get(&token.0).map(Arc::clone);
        if let Some(source) = source {
            let mut state = lock(&source.state);
            // It may have been taken away since.
            if state.owner == Owner::Thread {
                self.read(&source, &mut state, buffer);
            }
        } else if token != WAKE {
            self.flush(token.0);
        }
    }

    fn read(&self, source: &Arc<Source>, state: &mut SourceState, buffer: &mut [u8]) {
        let target = match &state.sink {
            Sink::Forward(_, target) => Some(Arc::clone(target)),
            Sink::Queue => None,
        };
        if let Some(target) = &target
            && !lock(target).is_idle()
        {
            self.wait_for(target, source.id);
            return;
        }
        // Forwarded lines do not wait, but a copy of them may.
        if source.queue.stops(source.id) {
            return;
        }
        let progress = source.read_once(state, buffer, true);
        if let Progress::Read(count) = progress {
            state.recent = state.recent.saturating_add(count);
        }
        if !progress.is_last(state) {
            if progress != Progress::Nothing {
                drop(arm(&self.registry, source));
            }
            return;
        }
        source.hand_on(state, None, true);
        match target {
            // It comes back here, and ends, when all is written.
            Some(target) if !lock(&target).is_idle() => self.wait_for(&target, source.id),
            _ => {
                source.end(state);
                self.forget(source);
            }
        }
    }

    fn forget(&self, source: &Source) {
        drop(self.registry.deregister(&mut SourceFd(&source.pipe.as_raw_fd())));
        lock(&self.shared.state).sources.remove(&source.id);
    }

    // Has `source` wait until `target` can be written to.
    fn wait_for(&self, target: &Arc<Mutex<Target>>, source: SourceId) {
        let mut state = lock(&self.shared.state);
        let file = lock(target).file().as_raw_fd();
        let id = usize::try_from(file).map_or(0, |file| (WAKE.0 >> 1).saturating_add(file));
        let blocked = state.blocked.entry(id).or_insert_with(|| {
            drop(self.registry.register(&mut SourceFd(&file), Token(id), Interest::WRITABLE));
            Blocked { target: Arc::clone(target), sources: Vec::new() }
        });
        if !blocked.sources.contains(&source) {
            blocked.sources.push(source);
        }
    }

    // A target can be written to.
    fn flush(&self, id: usize) {
        let mut state = lock(&self.shared.state);
        let Some(blocked) = state.blocked.remove(&id) else { return };
        let mut target = lock(&blocked.target);
        let file = target.file().as_raw_fd();
        // An error is told by the next lines, which meet it too.
        if target.flush().is_ok() && !target.is_idle() {
            drop(target);
            drop(self.registry.reregister(&mut SourceFd(&file), Token(id), Interest::WRITABLE));
            state.blocked.insert(id, blocked);
            return;
        }
        drop(self.registry.deregister(&mut SourceFd(&file)));
        for source in &blocked.sources {
            if let Some(source) = state.sources.get(source) {
                drop(arm(&self.registry, source));
            }
        }
    }

    // Gives back what has become quiet. Returns whether anything is left that may.
    fn give_back(&self) -> bool {
        let sources: Vec<_> = lock(&self.shared.state).sources.values().map(Arc::clone).collect();
        let mut is_any_left = false;
        for source in sources {
            let mut state = lock(&source.state);
            if state.owner != Owner::Thread || !matches!(state.sink, Sink::Queue) {
                continue;
            }
            let recent = std::mem::take(&mut state.recent);
            if recent < QUIET_BYTES && state.left.is_none() && !source.queue.stops(source.id) {
                self.forget(&source);
                state.owner = Owner::Loop;
                source.queue.tell(source.id, Event::Returned);
            } else {
                is_any_left = true;
            }
        }
        is_any_left
    }
}
