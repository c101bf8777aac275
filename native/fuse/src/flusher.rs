//! Answers the requests that wait for the disk: many with one flush of the store.
//!
//! Invariants:
//! - Whoever finds nobody flushing does it, for all that wait, until nobody waits any more; the
//!   others only leave their request. So at most one thread waits for the disk.
//! - A request is answered by a flush that began after it came.
//! - The only thread that answers requests never flushes: the mount goes on meanwhile.

use fuser::Errno;
use parking_lot::Mutex;
use std::sync::Arc;

/// What becomes of a flush.
pub(crate) type Flushed = Result<(), Errno>;
type Answer = Box<dyn FnOnce(Flushed) + Send>;

#[derive(Default)]
struct State {
    waiting: Vec<Answer>,
    flushing: bool,
}

/// Those who wait for a flush.
#[derive(Clone)]
pub(crate) struct Flusher {
    state: Arc<Mutex<State>>,
    flush: Arc<dyn Fn() -> Flushed + Send + Sync>,
    /// The thread that brings a request may flush: there is another one for other requests.
    inline: bool,
}

impl Flusher {
    /// Calls `flush` on behalf of `request_threads` threads.
    pub(crate) fn new(
        request_threads: usize,
        flush: impl Fn() -> Flushed + Send + Sync + 'static,
    ) -> Self {
        Self {
            state: Arc::default(),
            flush: Arc::new(flush),
            inline: request_threads > 1,
        }
    }

    /// Has `answer` called, here or on another thread, after a flush.
    pub(crate) fn run(&self, answer: impl FnOnce(Flushed) + Send + 'static) {
        {
            let mut state = self.state.lock();
            state.waiting.push(Box::new(answer));
            if std::mem::replace(&mut state.flushing, true) {
                return;
            }
        }
        if !self.inline {
            let flusher = self.clone();
            let thread = std::thread::Builder::new().name("lockstep-fsync".to_owned());
            if thread.spawn(move || flusher.work()).is_ok() {
                return;
            }
            // Slower, but done: this thread waits.
        }
        self.work();
    }

    fn work(&self) {
        loop {
            let batch = {
                let mut state = self.state.lock();
                if state.waiting.is_empty() {
                    state.flushing = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let flushed = (self.flush)();
            for answer in batch {
                answer(flushed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A flusher whose flushes wait for a word, and how many there were.
    fn held(threads: usize) -> (Flusher, Sender<Flushed>, Receiver<()>) {
        let (go, word) = channel();
        let (began, beginning) = channel();
        let (word, began) = (Mutex::new(word), Mutex::new(began));
        let flusher = Flusher::new(threads, move || {
            began.lock().send(()).unwrap();
            word.lock().recv().unwrap()
        });
        (flusher, go, beginning)
    }

    #[test]
    fn those_who_come_during_a_flush_share_the_next() {
        for threads in [1, 2] {
            let (flusher, go, began) = held(threads);
            let (done, finished) = channel();
            let ask = |index: u64| {
                let done = done.clone();
                flusher.run(move |flushed| done.send((index, flushed.is_ok())).unwrap());
            };
            std::thread::scope(|scope| {
                scope.spawn(|| ask(0));
                began.recv().unwrap();
                (1..=20).for_each(ask);
                assert!(finished.try_recv().is_err());
                go.send(Ok(())).unwrap();
                assert_eq!(finished.recv().unwrap(), (0, true));
                began.recv().unwrap();
                go.send(Err(Errno::EIO)).unwrap();
                let rest: Vec<_> = (1..=20).map(|_| finished.recv().unwrap()).collect();
                assert_eq!(rest, (1..=20).map(|i| (i, false)).collect::<Vec<_>>());
            });
            assert!(began.try_recv().is_err());
        }
    }

    #[test]
    fn everybody_is_answered_by_a_flush_that_began_later() {
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let flusher = Flusher::new(2, move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let (done, finished) = channel();
                        let before = count.load(Ordering::SeqCst);
                        flusher.run(move |_| done.send(()).unwrap());
                        finished.recv().unwrap();
                        assert!(count.load(Ordering::SeqCst) > before);
                    }
                });
            }
        });
    }
}
