//! Tasks: futures that run on a worker's own thread, between the calls of its services.
//!
//! A task is polled in the worker's turn once its waker was called, from whichever thread. Where it has
//! something for a connection, it [asks](Tasks::call) for that connection's service to be called, which
//! has the [`Peer`](super::Peer). Time comes from the worker: [`Tasks::set_alarm`].
//!
//! Wakers are `std`'s own [`Wake`] over a name and a mailbox, and a worker polls its tasks one after the
//! other: no more is needed for an executor, and nothing of a task ever leaves its thread.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, iter, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    ptr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

use super::PeerId;
use crate::{
    mailbox::{Mail, Mailbox},
    slab::{Key, Slab},
};

/// The tasks and alarms of one worker. Clones are the same.
#[derive(Clone)]
pub struct Tasks(Rc<Inner>);

struct Inner {
    mailbox: Arc<Mailbox>,
    now: Cell<Instant>,
    table: RefCell<Slab<Entry>>,
    woken: RefCell<VecDeque<TaskId>>,
    calls: RefCell<Vec<PeerId>>,
    alarms: RefCell<BTreeMap<(Instant, u64), Waker>>,
    alarms_set: Cell<u64>,
    /// Tasks that are dropped if they still run then, the next one first.
    leaving: RefCell<BTreeSet<(Instant, TaskId)>>,
    panics: Cell<u64>,
    /// The task that is being polled, and what its own waker is known by.
    polled: Cell<Option<(TaskId, *const ())>>,
}

/// Names a task of a worker for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(Key);

struct Entry {
    /// The future and its waker; elsewhere while it is polled.
    running: Option<(Future, Waker)>,
    bell: Arc<Bell>,
}

type Future = Pin<Box<dyn std::future::Future<Output = ()>>>;

/// What a task's waker rings.
struct Bell {
    task: TaskId,
    rung: AtomicBool,
    mailbox: Arc<Mailbox>,
}

thread_local! {
    static CURRENT: RefCell<Option<Tasks>> = const { RefCell::new(None) };
}

impl Tasks {
    /// None yet. Other threads reach their worker by `mailbox`.
    pub(crate) fn new(mailbox: Arc<Mailbox>, now: Instant) -> Self {
        Self(Rc::new(Inner {
            mailbox,
            now: Cell::new(now),
            table: RefCell::new(Slab::new()),
            woken: RefCell::default(),
            calls: RefCell::default(),
            alarms: RefCell::default(),
            alarms_set: Cell::new(0),
            leaving: RefCell::default(),
            panics: Cell::default(),
            polled: Cell::default(),
        }))
    }

    /// Those of this thread, while its worker runs.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Makes these the tasks of this thread until what is given is dropped.
    pub fn enter(&self) -> Entered {
        Entered { before: CURRENT.replace(Some(self.clone())) }
    }

    /// The worker's time, read once a turn.
    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// Starts a task. It is polled in this turn or the next, and ends with its [`Task`] or with the worker
    /// at the latest.
    pub fn spawn(&self, future: impl std::future::Future<Output = ()> + 'static) -> Task {
        let key = self.0.table.borrow_mut().insert(|key| {
            let mailbox = Arc::clone(&self.0.mailbox);
            let bell = Bell { task: TaskId(key), rung: AtomicBool::new(true), mailbox };
            let bell = Arc::new(bell);
            Entry { running: Some((Box::pin(future), Arc::clone(&bell).into())), bell }
        });
        self.0.woken.borrow_mut().push_back(TaskId(key));
        Task { id: TaskId(key), tasks: Some(self.clone()) }
    }

    fn cancel(&self, task: TaskId) {
        let entry = self.0.table.borrow_mut().remove(task.0);
        self.catch(|| drop(entry));
    }

    /// Has [`Service::woken`](super::Service::woken) called for a connection of this worker in this turn
    /// or the next.
    pub fn call(&self, peer: PeerId) {
        self.0.calls.borrow_mut().push(peer);
    }

    /// Has `waker` called at `at`, unless what is given is dropped before.
    pub fn set_alarm(&self, at: Instant, waker: &Waker) -> Alarm {
        let number = self.0.alarms_set.get();
        self.0.alarms_set.set(number + 1);
        self.0.alarms.borrow_mut().insert((at, number), waker.clone());
        Alarm { tasks: self.clone(), entry: (at, number) }
    }

    // ---- for those who drive a worker ----------------------------------------------------------

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.table.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one is to be polled, or a service to be called.
    pub fn has_work(&self) -> bool {
        !self.0.woken.borrow().is_empty() || !self.0.calls.borrow().is_empty()
    }

    /// When there is something to do, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let alarm = self.0.alarms.borrow().first_key_value().map(|(&(at, _), _)| at);
        let leaving = self.0.leaving.borrow().first().map(|&(at, _)| at);
        [alarm, leaving].into_iter().flatten().min()
    }

    /// Moves the clock, before anything is polled or called in its time.
    pub fn set_now(&self, now: Instant) {
        self.0.now.set(now);
    }

    /// Has the alarms that are due go off, and drops the tasks whose time is up.
    pub fn expire(&self) {
        let now = self.now();
        let next_alarm = || {
            let mut alarms = self.0.alarms.borrow_mut();
            alarms.first_entry().filter(|first| first.key().0 <= now).map(|first| first.remove())
        };
        iter::from_fn(next_alarm).for_each(Waker::wake);
        let next_to_leave = || {
            let mut leaving = self.0.leaving.borrow_mut();
            leaving.first().is_some_and(|&(at, _)| at <= now).then(|| leaving.pop_first())?
        };
        iter::from_fn(next_to_leave).for_each(|(_, task)| self.cancel(task));
    }

    /// Another thread has called the waker of the task with this key.
    pub(crate) fn wake_key(&self, task: Key) {
        self.wake(TaskId(task));
    }

    /// A task's waker was called.
    pub fn wake(&self, task: TaskId) {
        self.0.woken.borrow_mut().push_back(task);
    }

    /// The task that is being polled, where `waker` is that task's own: then polling it is as good as
    /// calling the waker.
    pub fn polled_with(&self, waker: &Waker) -> Option<TaskId> {
        let (task, own) = self.0.polled.get()?;
        ptr::eq(waker.data(), own).then_some(task)
    }

    /// Polls a task at once, whether it was woken or not. Not to be called from a task.
    pub fn poll_now(&self, task: TaskId) {
        self.poll(task);
    }

    /// Does something, and polls at once the task that it has woken or started last. Not to be called
    /// from a task.
    pub fn run_woken_by<T>(&self, wake: impl FnOnce() -> T) -> T {
        let before = self.0.woken.borrow().len();
        let done = wake();
        let mut woken = self.0.woken.borrow_mut();
        let task = if woken.len() > before { woken.pop_back() } else { None };
        drop(woken);
        if let Some(task) = task {
            self.poll(task);
        }
        done
    }

    /// Polls the tasks that were woken before this call.
    pub fn run(&self) {
        let woken = self.0.woken.borrow().len();
        for _ in 0..woken {
            let Some(task) = self.0.woken.borrow_mut().pop_front() else { break };
            self.poll(task);
        }
    }

    fn poll(&self, TaskId(key): TaskId) {
        let running = self.0.table.borrow_mut().get_mut(key).and_then(|entry| {
            entry.bell.listen();
            entry.running.take()
        });
        let Some((mut future, waker)) = running else { return };
        let before = self.0.polled.replace(Some((TaskId(key), waker.data())));
        let polled = self.catch(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        self.0.polled.set(before);
        if let Some(Poll::Pending) = polled
            && let Some(entry) = self.0.table.borrow_mut().get_mut(key)
        {
            entry.running = Some((future, waker));
            return;
        }
        self.0.table.borrow_mut().remove(key);
        self.catch(|| drop(future));
    }

    /// Calls the application; a panic of its is counted, and gives `None`.
    fn catch<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(call)).ok();
        self.0.panics.set(self.0.panics.get() + u64::from(done.is_none()));
        done
    }

    /// How often a task has panicked since this was last asked.
    pub fn take_panics(&self) -> u64 {
        self.0.panics.take()
    }

    /// The connections whose services are to be called.
    pub fn take_calls(&self) -> Vec<PeerId> {
        self.0.calls.take()
    }

    /// Drops all tasks. They may hold what holds them, so a worker that ends must say so.
    pub fn clear(&self) {
        let keys = self.0.table.borrow().keys();
        keys.into_iter().for_each(|key| self.cancel(TaskId(key)));
    }
}

impl Bell {
    /// Whoever rings from here on is heard. What those before have left is seen by the poll that follows,
    /// which takes more than a store: that may come to pass behind what the poll reads. Where nobody has
    /// rung there is nothing to take back, and no locked instruction is paid for.
    fn listen(&self) {
        if self.rung.load(Ordering::Acquire) {
            self.rung.swap(false, Ordering::AcqRel);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let is_here = CURRENT.try_with(|current| {
            let current = current.borrow();
            let mine = |tasks: &&Tasks| {
                Arc::ptr_eq(&tasks.0.mailbox, &self.mailbox)
            };
            current.as_ref().filter(mine).map(|tasks| tasks.wake(self.task)).is_some()
        });
        if is_here != Ok(true) {
            self.mailbox.post(Mail::Wake(self.task.0)).ok();
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A task that ends when this is dropped; if it is being polled this very moment, as soon as it waits.
#[derive(Debug)]
#[must_use = "the task ends when this is dropped"]
pub struct Task {
    id: TaskId,
    tasks: Option<Tasks>,
}

impl Task {
    /// Whether it has not come to its end yet.
    pub fn is_running(&self) -> bool {
        let is_there = |tasks: &Tasks| tasks.0.table.borrow_mut().get_mut(self.id.0).is_some();
        self.tasks.as_ref().is_some_and(is_there)
    }

    /// Leaves it running until it ends by itself.
    pub fn detach(mut self) {
        self.tasks = None;
    }

    /// Leaves it running until `deadline` at the latest.
    pub fn cancel_at(mut self, deadline: Instant) {
        if self.is_running()
            && let Some(tasks) = self.tasks.take()
        {
            tasks.0.leaving.borrow_mut().insert((deadline, self.id));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(tasks) = self.tasks.take() {
            tasks.cancel(self.id);
        }
    }
}

/// While it lives, a worker's tasks are [`Tasks::current`] on its thread.
pub struct Entered {
    before: Option<Tasks>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// A waker that is called at a time; not any more once this is dropped.
#[derive(Debug)]
pub struct Alarm {
    tasks: Tasks,
    entry: (Instant, u64),
}

impl Alarm {
    /// Has `waker` called instead.
    pub fn set_waker(&self, waker: &Waker) {
        let mut alarms = self.tasks.0.alarms.borrow_mut();
        let entry = alarms.get_mut(&self.entry).filter(|entry| !entry.will_wake(waker));
        let before = entry.map(|entry| mem::replace(entry, waker.clone()));
        // A waker may do anything at its end.
        drop(alarms);
        drop(before);
    }

    /// Whether its time has come.
    pub fn is_due(&self) -> bool {
        self.entry.0 <= self.tasks.now()
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let waker = self.tasks.0.alarms.borrow_mut().remove(&self.entry);
        // A waker may do anything at its end.
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::{future, thread, time::Duration};

    use super::*;

    fn tasks() -> (Tasks, Arc<Mailbox>) {
        let mailbox = Arc::new(Mailbox::new(|| ()));
        (Tasks::new(Arc::clone(&mailbox), Instant::now()), mailbox)
    }

    /// The tasks that other threads have woken.
    fn woken(mailbox: &Mailbox) -> Vec<TaskId> {
        let mut mail = VecDeque::new();
        mailbox.take(&mut mail);
        let task = |mail| match mail {
            Mail::Wake(task) => TaskId(task),
            other => panic!("{other:?}"),
        };
        mail.into_iter().map(task).collect()
    }

    /// What a task that never ends leaves behind.
    #[derive(Default)]
    struct Trace {
        polls: Cell<usize>,
        waker: RefCell<Option<Waker>>,
    }

    fn traced(tasks: &Tasks) -> (Task, Rc<Trace>) {
        let trace = Rc::<Trace>::default();
        let kept = Rc::clone(&trace);
        let task = tasks.spawn(future::poll_fn(move |context| {
            kept.polls.set(kept.polls.get() + 1);
            kept.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        }));
        (task, trace)
    }

    #[test]
    fn a_task_is_polled_once_for_any_number_of_wakes() {
        let (tasks, mailbox) = tasks();
        let _entered = tasks.enter();
        let (_task, trace) = traced(&tasks);
        tasks.run();
        tasks.run();
        assert_eq!(trace.polls.get(), 1, "nobody woke it");
        let waker = trace.waker.take().unwrap();
        waker.wake_by_ref();
        waker.wake_by_ref();
        tasks.run();
        assert_eq!(trace.polls.get(), 2);
        assert!(woken(&mailbox).is_empty(), "its own thread needs no mail");
    }

    #[test]
    fn another_thread_wakes_a_task_by_one_letter() {
        let (tasks, mailbox) = tasks();
        let _entered = tasks.enter();
        let (task, trace) = traced(&tasks);
        tasks.run();
        let waker = trace.waker.take().unwrap();
        thread::spawn(move || (waker.wake_by_ref(), waker.wake())).join().unwrap();
        assert_eq!(woken(&mailbox), [task.id]);
        tasks.wake(task.id);
        tasks.run();
        assert_eq!(trace.polls.get(), 2);
    }

    #[test]
    fn a_task_that_wakes_itself_waits_for_the_next_run() {
        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        let _task = tasks.spawn(future::poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        tasks.run();
        assert!(tasks.has_work() && tasks.len() == 1);
    }

    #[test]
    fn a_panic_ends_its_task_and_no_other() {
        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        let _task = tasks.spawn(async { panic!("meant to") });
        let (_task, trace) = traced(&tasks);
        tasks.run();
        assert_eq!((trace.polls.get(), tasks.len()), (1, 1));
        assert_eq!([tasks.take_panics(), tasks.take_panics()], [1, 0]);
    }

    #[test]
    fn alarms_go_off_in_time_unless_dropped() {
        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        let start = tasks.now();
        let (_task, trace) = traced(&tasks);
        tasks.run();
        let waker = trace.waker.take().unwrap();
        let alarm = tasks.set_alarm(start + Duration::from_secs(2), &waker);
        drop(tasks.set_alarm(start + Duration::from_secs(1), &waker));
        assert_eq!(tasks.next_deadline(), Some(start + Duration::from_secs(2)));
        tasks.set_now(start + Duration::from_millis(1_999));
        tasks.expire();
        tasks.run();
        assert_eq!((trace.polls.get(), alarm.is_due()), (1, false));
        tasks.set_now(start + Duration::from_secs(2));
        tasks.expire();
        tasks.run();
        assert_eq!((trace.polls.get(), alarm.is_due()), (2, true));
        assert_eq!(tasks.next_deadline(), None);
    }

    #[test]
    fn a_waker_may_end_another_alarm_at_its_own_end() {
        /// Ends the alarms that are held when it is dropped.
        struct Ends;

        thread_local! {
            static HELD: RefCell<Vec<Alarm>> = const { RefCell::new(Vec::new()) };
        }

        impl Wake for Ends {
            fn wake(self: Arc<Self>) {}
        }

        impl Drop for Ends {
            fn drop(&mut self) {
                drop(HELD.take());
            }
        }

        let (tasks, _) = tasks();
        let at = tasks.now() + Duration::from_secs(1);
        let hold = || HELD.with_borrow_mut(|held| held.push(tasks.set_alarm(at, Waker::noop())));
        let waker = || Waker::from(Arc::new(Ends));
        let alarm = tasks.set_alarm(at, &waker());
        hold();
        alarm.set_waker(&waker());
        hold();
        drop(alarm);
        assert_eq!(tasks.next_deadline(), None);
    }

    #[test]
    fn a_task_that_was_given_a_deadline_is_dropped_at_it() {
        let (tasks, _) = tasks();
        let held = Rc::new(());
        let inside = Rc::clone(&held);
        let task = tasks.spawn(async move {
            future::pending::<()>().await;
            drop(inside);
        });
        tasks.run();
        task.cancel_at(tasks.now() + Duration::from_secs(1));
        tasks.set_now(tasks.now() + Duration::from_secs(1));
        tasks.expire();
        assert_eq!((tasks.len(), Rc::strong_count(&held)), (0, 1));
        assert_eq!(tasks.next_deadline(), None);
    }

    #[test]
    fn a_task_that_cancels_itself_ends_where_it_waits() {
        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        let own = Rc::new(Cell::new(None));
        let inside = Rc::clone(&own);
        own.set(Some(tasks.spawn(async move {
            drop(inside.take());
            future::pending::<()>().await;
        })));
        tasks.run();
        assert!(tasks.is_empty());
    }
}
