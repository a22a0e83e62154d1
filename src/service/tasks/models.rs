//! Models of a task's waker: other threads wake a task while its worker polls it; see [`crate::sync`].

use std::future;

use loom::{
    sync::Notify,
    thread::{self, JoinHandle},
};

use super::*;
use crate::sync::check;

/// A worker that only polls tasks, as the turns of `server` do.
struct Worker {
    mailbox: Arc<Mailbox>,
    /// The system's event, which is kept until it is waited for.
    event: Arc<Notify>,
    tasks: Tasks,
}

impl Worker {
    fn new() -> Self {
        let event = Arc::new(Notify::new());
        let set = Arc::clone(&event);
        let mailbox = Arc::new(Mailbox::new(move || set.notify()));
        let tasks = Tasks::new(Arc::clone(&mailbox), Instant::now());
        Self { mailbox, event, tasks }
    }

    /// Polls `task` when it is woken, until it has ended. loom fails where that never happens.
    fn run_until_end(&self, task: &Task) {
        let mut mail = VecDeque::new();
        while task.is_running() {
            if self.mailbox.fall_asleep(false) && !self.tasks.has_work() {
                self.event.wait();
            }
            self.mailbox.wake_up();
            if !self.mailbox.is_empty() {
                self.mailbox.take(&mut mail);
            }
            for mail in mail.drain(..) {
                let Mail::Wake(task) = mail else { panic!("{mail:?}") };
                self.tasks.wake_key(task);
            }
            self.tasks.run(|| true);
        }
    }
}

/// Threads that do work for a task, each its own piece, and then wake it.
struct Helpers {
    done: Vec<Arc<AtomicBool>>,
    polls: Rc<Cell<usize>>,
}

impl Helpers {
    /// `count` of them, with the task that ends when all their work is done. It has been polled once.
    fn start(count: usize, worker: &Worker) -> (Self, Task, Vec<JoinHandle<()>>) {
        let done: Vec<_> = (0..count).map(|_| Arc::new(AtomicBool::new(false))).collect();
        let (polls, waker) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
        let (look, count, keep) = (done.clone(), Rc::clone(&polls), Rc::clone(&waker));
        let task = worker.tasks.spawn(future::poll_fn(move |context| {
            if count.replace(count.get() + 1) == 0 {
                keep.replace(Some(context.waker().clone()));
                return Poll::Pending;
            }
            let is_done = look.iter().all(|done| done.load(Ordering::Relaxed));
            if is_done { Poll::Ready(()) } else { Poll::Pending }
        }));
        worker.tasks.run(|| true);
        let waker = waker.take().expect("the task was polled");
        let threads = done.iter().map(|done| {
            let (done, waker) = (Arc::clone(done), waker.clone());
            thread::spawn(move || {
                done.store(true, Ordering::Relaxed);
                waker.wake();
            })
        });
        let threads = threads.collect();
        (Self { done, polls }, task, threads)
    }

    fn join(self, threads: Vec<JoinHandle<()>>) {
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(self.done.iter().all(|done| done.load(Ordering::Relaxed)));
        assert!(self.polls.get() <= 2 + self.done.len());
    }
}

#[test]
fn the_poll_behind_a_wake_sees_what_was_done_before_it() {
    check(|| {
        let worker = Worker::new();
        let _entered = worker.tasks.enter();
        let (helpers, task, threads) = Helpers::start(1, &worker);
        worker.run_until_end(&task);
        helpers.join(threads);
    });
}

#[test]
fn no_wake_is_lost_among_those_of_several_threads() {
    check(|| {
        let worker = Worker::new();
        let _entered = worker.tasks.enter();
        let (helpers, task, threads) = Helpers::start(2, &worker);
        worker.run_until_end(&task);
        helpers.join(threads);
    });
}

#[test]
fn no_wake_is_lost_beside_those_of_the_worker_itself() {
    check(|| {
        let worker = Worker::new();
        let _entered = worker.tasks.enter();
        let (helpers, task, threads) = Helpers::start(1, &worker);
        (0..2).for_each(|_| worker.tasks.wake(task.id));
        worker.run_until_end(&task);
        helpers.join(threads);
    });
}
