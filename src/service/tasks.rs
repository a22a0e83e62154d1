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
    fmt, mem,
    pin::Pin,
    ptr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

use super::PeerId;
use crate::{
    guard::{Panicked, guard},
    mailbox::{Mail, Mailbox},
    slab::{Key, Slab},
    sync::{self, AtomicBool},
};

/// The tasks and alarms of one worker. Clones are the same.
///
/// # Bounds
///
/// A worker has one task for each connection that is a session or whose request is being decided on. The
/// connections are bounded by [`max_connections`](crate::ServerBuilder::max_connections); a session's task
/// ends ten seconds after its connection at the latest. Beyond those there are the tasks that the
/// application spawns, and an alarm for each wait by the worker's clock that is in progress: no setting
/// bounds these, as only the application knows how many it starts. What a task or an alarm costs is freed
/// when it ends, is due or is dropped. A task waits in the list of woken tasks once, however often it is
/// woken.
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
    /// The worker has ended: no task starts any more.
    is_closed: Cell<bool>,
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
    /// Its entry in the list of those that leave.
    leaves_at: Option<Instant>,
}

type Future = Pin<Box<dyn std::future::Future<Output = ()>>>;

/// What a task's waker rings.
struct Bell {
    task: TaskId,
    rung: AtomicBool,
    /// The task is in the list of woken tasks. Only its worker looks at this.
    is_listed: AtomicBool,
    mailbox: Arc<Mailbox>,
}

sync::thread_local! {
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
            is_closed: Cell::default(),
            polled: Cell::default(),
        }))
    }

    /// Those of this thread, while its worker runs.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// Makes these the tasks of this thread until what is given is dropped.
    pub fn enter(&self) -> Entered {
        Entered { before: CURRENT.with(|current| current.replace(Some(self.clone()))) }
    }

    /// The worker's time, read once a turn.
    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// Starts a task. It is polled in this turn or the next, and ends with its [`Task`] or with the worker
    /// at the latest. Once the worker has ended, the future is dropped.
    pub fn spawn(&self, future: impl std::future::Future<Output = ()> + 'static) -> Task {
        if self.0.is_closed.get() {
            self.guard(|| drop(future)).ok();
            let id = TaskId(Key { slot: u32::MAX, generation: u32::MAX });
            return Task { id, tasks: None };
        }
        let key = self.0.table.borrow_mut().insert(|key| {
            let bell = Arc::new(Bell {
                task: TaskId(key),
                rung: AtomicBool::new(true),
                is_listed: AtomicBool::new(true),
                mailbox: Arc::clone(&self.0.mailbox),
            });
            let running = Some((Box::pin(future) as Future, Arc::clone(&bell).into()));
            Entry { running, bell, leaves_at: None }
        });
        self.0.woken.borrow_mut().push_back(TaskId(key));
        Task { id: TaskId(key), tasks: Some(self.clone()) }
    }

    /// Calls the application; a panic of its is counted.
    pub(crate) fn guard<T>(&self, call: impl FnOnce() -> T) -> Result<T, Panicked> {
        self.0.guard(call)
    }

    /// Has [`Service::woken`](super::Service::woken) called for a connection of this worker in this turn
    /// or the next.
    pub fn call(&self, peer: PeerId) {
        self.0.calls.borrow_mut().push(peer);
    }

    /// Has `waker` called at `at`, unless what is given is dropped before. Where that time has passed, it
    /// is called as soon as alarms go off again.
    pub fn set_alarm(&self, at: Instant, waker: &Waker) -> Alarm {
        let number = self.0.alarms_set.get();
        self.0.alarms_set.set(number + 1);
        // An alarm in the past comes behind those that are due already, or it could keep them waiting.
        let entry = (at.max(self.now()), number);
        let waker = waker.clone();
        self.0.alarms.borrow_mut().insert(entry, waker);
        Alarm { tasks: self.clone(), entry }
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

    /// Whether one is to be polled, a service to be called, or a panic to be told of.
    pub fn has_work(&self) -> bool {
        !self.0.woken.borrow().is_empty()
            || !self.0.calls.borrow().is_empty()
            || self.0.panics.get() > 0
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

    /// Has the alarms that are due go off, and drops the tasks whose time is up: those that were there
    /// before this call. `may_go_on` is asked after each; what is left comes first the next time.
    pub fn expire(&self, mut may_go_on: impl FnMut() -> bool) {
        let now = self.now();
        let count = self.0.alarms.borrow().len();
        for _ in 0..count {
            let mut alarms = self.0.alarms.borrow_mut();
            let first = alarms.first_entry().filter(|first| first.key().0 <= now);
            let Some(waker) = first.map(|first| first.remove()) else { break };
            drop(alarms);
            self.guard(|| waker.wake()).ok();
            if !may_go_on() {
                return;
            }
        }
        let count = self.0.leaving.borrow().len();
        for _ in 0..count {
            let first = self.0.leaving.borrow().first().copied();
            let Some((_, task)) = first.filter(|&(at, _)| at <= now) else { break };
            self.0.end(task);
            if !may_go_on() {
                return;
            }
        }
    }

    /// Another thread has called the waker of the task with this key.
    pub(crate) fn wake_key(&self, task: Key) {
        self.list(TaskId(task));
    }

    /// A task's waker was called.
    pub fn wake(&self, task: TaskId) {
        if let Some(entry) = self.0.table.borrow_mut().get_mut(task.0) {
            entry.bell.ring();
        }
        self.list(task);
    }

    /// Lists a task whose bell was rung.
    fn list(&self, task: TaskId) {
        if let Some(entry) = self.0.table.borrow_mut().get_mut(task.0)
            && !entry.bell.is_listed.swap(true, Ordering::Relaxed)
        {
            self.0.woken.borrow_mut().push_back(task);
        }
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

    /// Does something, and polls at once the task that it has woken or started. Where there are several,
    /// they wait for their turn in their order. Not to be called from a task.
    pub fn run_woken_by<T>(&self, wake: impl FnOnce() -> T) -> T {
        let before = self.0.woken.borrow().len();
        let done = wake();
        let mut woken = self.0.woken.borrow_mut();
        let task = if woken.len() == before + 1 { woken.pop_back() } else { None };
        drop(woken);
        if let Some(task) = task {
            self.poll_listed(task);
        }
        done
    }

    /// Polls the tasks that were woken before this call, in the order in which they were. `may_go_on` is
    /// asked after each; what is left comes first the next time.
    pub fn run(&self, mut may_go_on: impl FnMut() -> bool) {
        let woken = self.0.woken.borrow().len();
        for _ in 0..woken {
            let Some(task) = self.0.woken.borrow_mut().pop_front() else { break };
            if self.poll_listed(task) && !may_go_on() {
                break;
            }
        }
    }

    /// Polls a task that was taken from the list, unless it was polled since it was woken; gives whether it
    /// was polled.
    fn poll_listed(&self, task: TaskId) -> bool {
        let is_woken = self.0.table.borrow_mut().get_mut(task.0).is_some_and(|entry| {
            entry.bell.is_listed.store(false, Ordering::Relaxed);
            entry.bell.rung.load(Ordering::Acquire)
        });
        if is_woken {
            self.poll(task);
        }
        is_woken
    }

    fn poll(&self, TaskId(key): TaskId) {
        let running = self.0.table.borrow_mut().get_mut(key).and_then(|entry| {
            entry.bell.listen();
            entry.running.take()
        });
        let Some((mut future, waker)) = running else { return };
        let before = self.0.polled.replace(Some((TaskId(key), waker.data())));
        let polled = self.guard(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        self.0.polled.set(before);
        if let Ok(Poll::Pending) = polled
            && let Some(entry) = self.0.table.borrow_mut().get_mut(key)
        {
            entry.running = Some((future, waker));
            return;
        }
        self.0.end(TaskId(key));
        self.guard(|| drop(future)).ok();
    }

    /// How often a task has panicked since this was last asked.
    pub fn take_panics(&self) -> u64 {
        self.0.panics.take()
    }

    /// The connections whose services are to be called.
    pub fn take_calls(&self) -> Vec<PeerId> {
        self.0.calls.take()
    }

    /// Drops all tasks, and those that start from now on. They may hold what holds them, so a worker that
    /// ends must say so.
    pub fn clear(&self) {
        self.0.is_closed.set(true);
        let keys = self.0.table.borrow().keys();
        keys.into_iter().for_each(|key| self.0.end(TaskId(key)));
    }
}

impl Inner {
    /// Calls the application; a panic of its is counted.
    fn guard<T>(&self, call: impl FnOnce() -> T) -> Result<T, Panicked> {
        let done = guard(call);
        self.panics.set(self.panics.get() + u64::from(done.is_err()));
        done
    }

    /// Takes a task off the table, and drops its future.
    fn end(&self, task: TaskId) {
        let entry = self.table.borrow_mut().remove(task.0);
        if let Some(at) = entry.as_ref().and_then(|entry| entry.leaves_at) {
            self.leaving.borrow_mut().remove(&(at, task));
        }
        self.guard(|| drop(entry)).ok();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let keys = self.table.borrow().keys();
        keys.into_iter().for_each(|key| self.end(TaskId(key)));
        for waker in self.alarms.take().into_values() {
            guard(|| drop(waker)).ok();
        }
    }
}

impl Bell {
    /// Gives whether nobody has rung since the task last listened. A store would not do: it may replace the
    /// ring of another thread, and what that thread has left would not be seen by the poll that follows.
    fn ring(&self) -> bool {
        !self.rung.swap(true, Ordering::Release)
    }

    /// Whoever rings from here on is heard. What those before have left is seen by the poll that follows,
    /// which takes more than a store: that may come to pass behind what the poll reads. Where nobody has
    /// rung there is nothing to take back, and no locked instruction is paid for.
    fn listen(&self) {
        if self.rung.load(Ordering::Acquire) {
            self.rung.swap(false, Ordering::Acquire);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.ring() {
            return;
        }
        let is_here = CURRENT.try_with(|current| {
            let current = current.borrow();
            let mine = |tasks: &&Tasks| Arc::ptr_eq(&tasks.0.mailbox, &self.mailbox);
            current.as_ref().filter(mine).map(|tasks| tasks.list(self.task)).is_some()
        });
        if !is_here.unwrap_or(false) {
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
            && let Some(entry) = tasks.0.table.borrow_mut().get_mut(self.id.0)
        {
            // As with an alarm: one in the past comes behind those that are due already.
            let at = deadline.max(tasks.now());
            entry.leaves_at = Some(at);
            tasks.0.leaving.borrow_mut().insert((at, self.id));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(tasks) = self.tasks.take() {
            tasks.0.end(self.id);
        }
    }
}

/// While it lives, a worker's tasks are [`Tasks::current`] on its thread.
pub struct Entered {
    before: Option<Tasks>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // The tasks may end with this, and what they hold may ask for the current ones.
        let ended = CURRENT.with(|current| current.replace(self.before.take()));
        drop(ended);
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
        let alarms = &self.tasks.0.alarms;
        let is_another = |known: &Waker| !known.will_wake(waker);
        if !alarms.borrow().get(&self.entry).is_some_and(is_another) {
            return;
        }
        // A waker may do anything when it is cloned, and at its end.
        let mut waker = waker.clone();
        if let Some(known) = alarms.borrow_mut().get_mut(&self.entry) {
            mem::swap(known, &mut waker);
        }
        self.tasks.guard(|| drop(waker)).ok();
    }

    /// Whether its time has come.
    pub fn is_due(&self) -> bool {
        self.entry.0 <= self.tasks.now()
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let waker = self.tasks.0.alarms.borrow_mut().remove(&self.entry);
        self.tasks.guard(|| drop(waker)).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::{future, sync::Mutex, thread, time::Duration};

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
        tasks.run(|| true);
        tasks.run(|| true);
        assert_eq!(trace.polls.get(), 1, "nobody woke it");
        let waker = trace.waker.take().unwrap();
        waker.wake_by_ref();
        waker.wake_by_ref();
        tasks.run(|| true);
        assert_eq!(trace.polls.get(), 2);
        assert!(woken(&mailbox).is_empty(), "its own thread needs no mail");
    }

    #[test]
    fn another_thread_wakes_a_task_by_one_letter() {
        let (tasks, mailbox) = tasks();
        let _entered = tasks.enter();
        let (task, trace) = traced(&tasks);
        tasks.run(|| true);
        let waker = trace.waker.take().unwrap();
        thread::spawn(move || (waker.wake_by_ref(), waker.wake())).join().unwrap();
        assert_eq!(woken(&mailbox), [task.id]);
        tasks.wake(task.id);
        tasks.run(|| true);
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
        tasks.run(|| true);
        assert!(tasks.has_work() && tasks.len() == 1);
    }

    #[test]
    fn a_panic_ends_its_task_and_no_other() {
        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        let _task = tasks.spawn(async { panic!("meant to") });
        let (_task, trace) = traced(&tasks);
        tasks.run(|| true);
        assert_eq!((trace.polls.get(), tasks.len()), (1, 1));
        assert_eq!([tasks.take_panics(), tasks.take_panics()], [1, 0]);
    }

    #[test]
    fn alarms_go_off_in_time_unless_dropped() {
        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        let start = tasks.now();
        let (_task, trace) = traced(&tasks);
        tasks.run(|| true);
        let waker = trace.waker.take().unwrap();
        let alarm = tasks.set_alarm(start + Duration::from_secs(2), &waker);
        drop(tasks.set_alarm(start + Duration::from_secs(1), &waker));
        assert_eq!(tasks.next_deadline(), Some(start + Duration::from_secs(2)));
        tasks.set_now(start + Duration::from_millis(1_999));
        tasks.expire(|| true);
        tasks.run(|| true);
        assert_eq!((trace.polls.get(), alarm.is_due()), (1, false));
        tasks.set_now(start + Duration::from_secs(2));
        tasks.expire(|| true);
        tasks.run(|| true);
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
        tasks.run(|| true);
        task.cancel_at(tasks.now() + Duration::from_secs(1));
        tasks.set_now(tasks.now() + Duration::from_secs(1));
        tasks.expire(|| true);
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
        tasks.run(|| true);
        assert!(tasks.is_empty());
    }

    /// A task that tells its number when it is polled, and wakes itself where it is `restless`.
    fn numbered(
        tasks: &Tasks,
        number: usize,
        restless: bool,
        polled: &Rc<RefCell<Vec<usize>>>,
    ) -> Task {
        let polled = Rc::clone(polled);
        tasks.spawn(future::poll_fn(move |context| {
            polled.borrow_mut().push(number);
            if restless {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }))
    }

    #[test]
    fn what_a_run_leaves_comes_first_in_the_next() {
        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        let polled = Rc::default();
        let _tasks = [(1, true), (2, false), (3, true), (4, false)]
            .map(|(number, restless)| numbered(&tasks, number, restless, &polled));
        tasks.run(|| false);
        assert_eq!(*polled.borrow(), [1]);
        tasks.run(|| polled.borrow().len() < 3);
        assert_eq!(*polled.borrow(), [1, 2, 3]);
        tasks.run(|| true);
        assert_eq!(*polled.borrow(), [1, 2, 3, 4, 1, 3], "who wakes itself keeps nobody waiting");
        // One that has ended takes nobody's turn.
        drop(_tasks);
        let _last = numbered(&tasks, 5, false, &polled);
        tasks.run(|| false);
        assert_eq!(polled.borrow().last(), Some(&5));
        assert!(!tasks.has_work());
    }

    #[test]
    fn a_task_is_listed_once_however_often_it_is_polled_in_between() {
        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        let polled = Rc::default();
        let task = numbered(&tasks, 1, true, &polled);
        (0..10).for_each(|_| tasks.poll_now(task.id));
        tasks.run(|| true);
        assert_eq!(polled.borrow().len(), 11);
        // Polled since it was woken: there is nothing to poll it for.
        let polled = Rc::default();
        let calm = numbered(&tasks, 2, false, &polled);
        tasks.poll_now(calm.id);
        tasks.run(|| true);
        assert_eq!(polled.borrow().len(), 1);
        tasks.wake(calm.id);
        tasks.run(|| true);
        assert_eq!(polled.borrow().len(), 2);
    }

    /// Does something when it is woken.
    struct Does<F>(F);

    impl<F: Fn() + Send + Sync> Wake for Does<F> {
        fn wake(self: Arc<Self>) {
            self.0();
        }
    }

    fn waker(does: impl Fn() + Send + Sync + 'static) -> Waker {
        Arc::new(Does(does)).into()
    }

    #[test]
    fn what_an_expiry_leaves_comes_first_in_the_next() {
        let (tasks, _) = tasks();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let second = |count| tasks.now() + Duration::from_secs(count);
        let alarms = [2, 1, 3].map(|at| {
            let heard = Arc::clone(&heard);
            tasks.set_alarm(second(at), &waker(move || heard.lock().unwrap().push(at)))
        });
        let held = Rc::new(());
        let leave = |at| {
            let inside = Rc::clone(&held);
            let task = tasks.spawn(async move {
                future::pending::<()>().await;
                drop(inside);
            });
            task.cancel_at(second(at));
        };
        [2, 1, 4].into_iter().for_each(leave);
        tasks.set_now(second(3));
        let heard = || heard.lock().unwrap().clone();
        for expected in [&[1][..], &[1, 2], &[1, 2, 3]] {
            tasks.expire(|| false);
            assert_eq!((&*heard(), tasks.len()), (expected, 3));
        }
        for left in [2, 1, 1] {
            tasks.expire(|| false);
            assert_eq!((tasks.len(), Rc::strong_count(&held)), (left, left + 1));
        }
        assert_eq!(tasks.next_deadline(), Some(second(1)));
        drop(alarms);
    }

    #[test]
    fn an_alarm_that_sets_the_next_one_keeps_nobody_waiting() {
        thread_local! {
            static ALARMS: RefCell<Vec<Alarm>> = const { RefCell::new(Vec::new()) };
        }

        fn again() {
            let tasks = Tasks::current().unwrap();
            // In the past of those that are due.
            let at = tasks.now() - Duration::from_secs(1);
            let alarm = tasks.set_alarm(at, &waker(again));
            ALARMS.with_borrow_mut(|alarms| alarms.push(alarm));
        }

        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        tasks.set_now(tasks.now() + Duration::from_secs(2));
        again();
        let heard = Arc::new(AtomicBool::new(false));
        let hear = Arc::clone(&heard);
        let _last =
            tasks.set_alarm(tasks.now(), &waker(move || hear.store(true, Ordering::Relaxed)));
        let mut count = 0;
        tasks.expire(|| {
            count += 1;
            count < 2
        });
        assert!(heard.load(Ordering::Relaxed));
        tasks.expire(|| true);
        assert!(ALARMS.take().len() < 10);
    }

    #[test]
    fn a_task_that_has_ended_is_waited_for_no_more() {
        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        let (task, trace) = traced(&tasks);
        tasks.spawn(async {}).cancel_at(tasks.now() + Duration::from_secs(10));
        let ends = tasks.spawn(async {});
        assert!(task.is_running() && ends.is_running());
        tasks.run(|| true);
        assert!(task.is_running() && !ends.is_running());
        ends.cancel_at(tasks.now() + Duration::from_secs(10));
        assert_eq!(tasks.next_deadline(), None);
        // What is past is due now.
        let past = tasks.now();
        tasks.set_now(past + Duration::from_secs(1));
        task.cancel_at(past);
        assert_eq!(tasks.next_deadline(), Some(tasks.now()));
        tasks.expire(|| true);
        assert_eq!((tasks.len(), Rc::strong_count(&trace)), (0, 1));
    }

    /// The last time that the clock can tell, to the second.
    fn latest() -> Instant {
        let mut at = Instant::now();
        for bit in (0..64).rev() {
            at = at.checked_add(Duration::from_secs(1 << bit)).unwrap_or(at);
        }
        at
    }

    #[test]
    fn alarms_and_deadlines_may_be_as_late_as_the_clock_goes() {
        let (tasks, _) = tasks();
        let (early, late) = (tasks.now(), latest());
        let (_task, trace) = traced(&tasks);
        tasks.run(|| true);
        let waker = trace.waker.take().unwrap();
        let [first, last] = [early, late].map(|at| tasks.set_alarm(at, &waker));
        tasks.spawn(future::pending()).cancel_at(late);
        tasks.expire(|| true);
        assert_eq!((first.is_due(), last.is_due(), tasks.len()), (true, false, 2));
        assert_eq!(tasks.next_deadline(), Some(late));
        tasks.set_now(late);
        tasks.expire(|| true);
        assert_eq!((last.is_due(), tasks.len(), tasks.next_deadline()), (true, 1, None));
    }

    /// Panics when it is dropped.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("as asked, in drop");
        }
    }

    /// A future that never ends, and panics when it is dropped.
    fn bomb() -> impl std::future::Future<Output = ()> {
        let bomb = Bomb;
        async move {
            let _bomb = bomb;
            future::pending().await
        }
    }

    #[test]
    fn a_panic_of_whatever_a_task_holds_is_counted_and_harms_nobody() {
        let (tasks, _) = tasks();
        let _entered = tasks.enter();
        let (task, trace) = traced(&tasks);
        tasks.run(|| true);
        let second = Duration::from_secs(1);
        let panics = |name: &str, does: &dyn Fn()| {
            tasks.wake(task.id);
            let polls = trace.polls.get();
            does();
            assert!(tasks.has_work(), "{name}: there is something to tell");
            tasks.set_now(tasks.now() + second);
            tasks.expire(|| true);
            tasks.run(|| true);
            assert_eq!((tasks.take_panics(), tasks.len()), (1, 1), "{name}");
            assert_eq!(trace.polls.get(), polls + 1, "{name}: the other goes on");
        };
        let drop_bomb = || {
            let bomb = Mutex::new(Some(Bomb));
            waker(move || drop(bomb.lock().unwrap().take()))
        };
        // Its waker's last clone, which panics when it is dropped.
        let held = || {
            let bomb = Bomb;
            let waker = waker(move || _ = &bomb);
            tasks.set_alarm(tasks.now(), &waker)
        };
        panics("a poll", &|| tasks.spawn(async { panic!("as asked") }).detach());
        panics("a drop behind the end", &|| {
            let bomb = Bomb;
            let ends = future::poll_fn(move |_| {
                _ = &bomb;
                Poll::Ready(())
            });
            tasks.spawn(ends).detach();
        });
        panics("a cancelled task", &|| drop(tasks.spawn(bomb())));
        panics("a deadline", &|| tasks.spawn(bomb()).cancel_at(tasks.now()));
        panics("an alarm", &|| mem::forget(tasks.set_alarm(tasks.now(), &drop_bomb())));
        panics("the end of an alarm's waker", &|| {
            let alarm = held();
            alarm.set_waker(Waker::noop());
        });
        panics("the end of an alarm", &|| drop(held()));
        drop(task);
        (0..3).for_each(|_| tasks.spawn(bomb()).detach());
        tasks.clear();
        assert_eq!((tasks.take_panics(), tasks.len()), (3, 0));
        drop(tasks.spawn(bomb()));
        assert_eq!((tasks.take_panics(), tasks.len()), (1, 0), "none starts any more");
    }

    #[test]
    fn the_end_of_a_worker_drops_what_is_left_and_may_ask_for_the_current_tasks() {
        /// Asks for the tasks of its thread and wakes one, then panics.
        struct Asks(Waker, Rc<Cell<usize>>);

        impl Drop for Asks {
            fn drop(&mut self) {
                assert!(Tasks::current().is_none());
                self.0.wake_by_ref();
                self.1.set(self.1.get() + 1);
                panic!("as asked, in drop");
            }
        }

        let (tasks, _) = tasks();
        let entered = tasks.enter();
        let dropped = Rc::default();
        for _ in 0..2 {
            let (task, trace) = traced(&tasks);
            task.detach();
            tasks.run(|| true);
            let asks = Asks(trace.waker.take().unwrap(), Rc::clone(&dropped));
            tasks
                .spawn(async move {
                    let _asks = asks;
                    future::pending::<()>().await;
                })
                .detach();
        }
        let bomb = Bomb;
        tasks.0.alarms.borrow_mut().insert((tasks.now(), 0), waker(move || _ = &bomb));
        drop(tasks);
        assert_eq!(dropped.get(), 0);
        drop(entered);
        assert_eq!(dropped.get(), 2);
    }
}

#[cfg(all(loom, test))]
mod models;
