//! Waits for the disk on behalf of the threads that answer requests.
//!
//! Invariants:
//! - At least one of the threads that answer requests never waits for the disk in `fsync`: the
//!   last one that is free hands the waiting over, so the mount goes on while data is flushed.
//! - Whoever waits, waits alone: many can share one flush of the store.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

const THREADS_MAX: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
    threads: usize,
    /// Request threads that are waiting themselves.
    waiting: usize,
}

/// Threads that are started when needed and end when not.
#[derive(Clone)]
pub(crate) struct Workers {
    shared: Arc<(Mutex<State>, Condvar)>,
    request_threads: usize,
}

impl Workers {
    pub(crate) fn new(request_threads: usize) -> Self {
        Self {
            shared: Arc::default(),
            request_threads,
        }
    }

    /// Runs a job that may wait for the disk: here, if another request thread is free, which
    /// saves waking somebody up, and else on a thread of its own.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let (state, _) = &*self.shared;
        {
            let mut state = state.lock();
            if state.waiting + 1 >= self.request_threads {
                drop(state);
                self.hand_over(Box::new(job));
                return;
            }
            state.waiting += 1;
        }
        job();
        state.lock().waiting -= 1;
    }

    fn hand_over(&self, job: Job) {
        let (state, wake) = &*self.shared;
        let mut locked = state.lock();
        locked.jobs.push_back(job);
        if locked.idle >= locked.jobs.len() || locked.threads >= THREADS_MAX {
            wake.notify_one();
            return;
        }
        locked.threads += 1;
        drop(locked);
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("lockstep-fsync".to_owned());
        if thread.spawn(move || work(&shared)).is_err() {
            // Slower, but done: this thread does what waits.
            work_once(&self.shared);
            state.lock().threads -= 1;
        }
    }
}

fn work_once(shared: &(Mutex<State>, Condvar)) -> bool {
    let job = shared.0.lock().jobs.pop_front();
    job.map(|job| job()).is_some()
}

fn work(shared: &(Mutex<State>, Condvar)) {
    loop {
        while work_once(shared) {}
        let mut state = shared.0.lock();
        if !state.jobs.is_empty() {
            continue;
        }
        state.idle += 1;
        let timed_out = shared.1.wait_for(&mut state, IDLE_TIMEOUT).timed_out();
        state.idle -= 1;
        if timed_out && state.jobs.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn jobs_that_wait_for_each_other_all_run() {
        let workers = Workers::new(1);
        let barrier = Arc::new(std::sync::Barrier::new(8));
        let (done, finished) = channel();
        for index in 0..8 {
            let (barrier, done) = (Arc::clone(&barrier), done.clone());
            workers.run(move || {
                barrier.wait();
                done.send(index).unwrap();
            });
        }
        let mut seen: Vec<i32> = (0..8).map(|_| finished.recv().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn a_job_runs_here_while_another_request_thread_is_free() {
        let workers = Workers::new(2);
        let here = std::thread::current().id();
        let (done, ran_on) = channel();
        let inner = workers.clone();
        workers.run(move || {
            done.send(std::thread::current().id()).unwrap();
            inner.run(move || done.send(std::thread::current().id()).unwrap());
        });
        assert_eq!(ran_on.recv().unwrap(), here);
        assert_ne!(ran_on.recv().unwrap(), here);
    }

    #[test]
    fn more_jobs_than_threads_are_all_done() {
        let workers = Workers::new(1);
        let (done, finished) = channel();
        for _ in 0..10 * THREADS_MAX {
            let done = done.clone();
            workers.run(move || done.send(()).unwrap());
        }
        drop(done);
        assert_eq!(finished.iter().count(), 10 * THREADS_MAX);
    }
}
