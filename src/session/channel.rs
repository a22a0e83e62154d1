//! What lies between a session's task and its connection: what came, what is to be sent, and who waits.
//!
//! The task takes what came and leaves orders; the [service](super::serving) puts in what came and carries
//! the orders out. Both are on one thread, never at once.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    future, iter,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::{
    protocol::{
        close::{CloseCode, CloseReason},
        error::SendError,
        frame::Frame,
        message::Message,
    },
    service::{OwnedRequest, Peer, PeerHandle, Request, TaskId, Tasks},
};

/// Bytes of what came and was not received from which on the socket is not read.
const MAX_UNREAD: usize = 64 << 10;

/// What each message counts on top of its payload, as it costs that in memory even when empty.
const OVERHEAD: usize = 640;

/// Bytes of orders from which on senders wait until these are carried out.
const MAX_ORDERED: usize = 64 << 10;

/// How often in a row a task is polled as its orders were carried out, before others have their turn.
const MAX_ROUNDS: usize = 16;

/// What a session receives: a message, or a frame in raw mode.
pub trait Unit: Incoming {}

impl Unit for Message<'static> {}

impl Unit for Frame<'static> {}

/// What a [`Unit`] is made of; nobody else can be one.
pub trait Incoming: Sized + 'static {
    fn from_message(_: Message<'_>, _: &mut Peer<'_>) -> Option<Self> {
        None
    }

    fn from_frame(_: Frame<'_>) -> Option<Self> {
        None
    }

    fn payload_len(&self) -> usize;
}

impl Incoming for Message<'static> {
    fn from_message(message: Message<'_>, peer: &mut Peer<'_>) -> Option<Self> {
        Some(peer.keep(message))
    }

    fn payload_len(&self) -> usize {
        Message::payload_len(self)
    }
}

impl Incoming for Frame<'static> {
    fn from_frame(frame: Frame<'_>) -> Option<Self> {
        Some(frame.into_owned())
    }

    fn payload_len(&self) -> usize {
        self.payload.len()
    }
}

/// One session's mail, both ways.
pub(super) struct Channel<U> {
    handle: PeerHandle,
    tasks: Tasks,
    request: OwnedRequest,
    incoming: RefCell<Queue<U>>,
    /// Bytes in `incoming`, each unit with its overhead.
    unread: Cell<usize>,
    orders: RefCell<Queue<Order>>,
    /// Bytes in `orders`.
    ordered: Cell<usize>,
    /// Who waits for what comes.
    receiver: Cell<Option<Receiver>>,
    /// Those that wait for room or for the end, by their number.
    waiting: RefCell<Vec<(u64, Waker)>>,
    /// The number of the next one to wait.
    next_waiter: Cell<u64>,
    reason: OnceCell<Box<CloseReason>>,
    /// The peer takes nothing for now.
    is_full: Cell<bool>,
    /// The service will be called.
    is_called: Cell<bool>,
    /// The connection is not read.
    is_paused: Cell<bool>,
    /// Nobody receives any more.
    is_deaf: Cell<bool>,
    /// A Close was ordered.
    is_closing: Cell<bool>,
}

/// Who waits for what comes.
enum Receiver {
    /// A task, by its own waker.
    Task(TaskId),
    /// Something within a task that has a waker of its own.
    Waker(Waker),
}

/// What a task wants of its connection.
pub(super) enum Order {
    Send(Message<'static>),
    Call(Box<dyn FnOnce(&mut Peer<'_>)>),
}

impl Order {
    fn len(&self) -> usize {
        match self {
            Self::Send(message) => message.payload_len() + OVERHEAD,
            Self::Call(_) => OVERHEAD,
        }
    }
}

impl<U: Unit> Channel<U> {
    pub(super) fn new(peer: &Peer<'_>, request: OwnedRequest) -> Self {
        Self {
            handle: peer.handle(),
            tasks: peer.tasks(),
            request,
            incoming: RefCell::default(),
            unread: Cell::default(),
            orders: RefCell::default(),
            ordered: Cell::default(),
            receiver: Cell::default(),
            waiting: RefCell::default(),
            next_waiter: Cell::default(),
            reason: OnceCell::new(),
            is_full: Cell::default(),
            is_called: Cell::default(),
            is_paused: Cell::default(),
            is_deaf: Cell::default(),
            is_closing: Cell::default(),
        }
    }

    pub(super) fn request(&self) -> Request<'_> {
        self.request.as_request()
    }

    pub(super) fn handle(&self) -> PeerHandle {
        self.handle.clone()
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(super) fn close_reason(&self) -> Option<&CloseReason> {
        self.reason.get().map(|reason| &**reason)
    }

    // ---- the task's side -----------------------------------------------------------------------

    pub(super) fn poll_recv(&self, context: &mut Context<'_>) -> Poll<Option<U>> {
        if let Some(unit) = self.incoming.borrow_mut().pop_front() {
            self.unread.set(self.unread.get() - unit.payload_len() - OVERHEAD);
            if self.is_to_resume() {
                self.call();
            }
            return Poll::Ready(Some(unit));
        }
        if self.reason.get().is_some() {
            return Poll::Ready(None);
        }
        self.receiver.set(Some(match self.tasks.polled_with(context.waker()) {
            Some(task) => Receiver::Task(task),
            None => Receiver::Waker(context.waker().clone()),
        }));
        Poll::Pending
    }

    fn is_to_resume(&self) -> bool {
        self.is_paused.get() && self.unread.get() <= MAX_UNREAD / 2
    }

    pub(super) fn stop_receiving(&self) {
        self.is_deaf.set(true);
        self.unread.set(0);
        drop(self.incoming.take());
        if self.is_paused.get() {
            self.call();
        }
    }

    /// Leaves an order, once there is room.
    pub(super) fn order(&self, order: Order) -> impl Future<Output = Result<(), SendError>> {
        let (mut order, mut waiter) = (Some(order), None);
        future::poll_fn(move |context| {
            if self.is_closing.get() || self.reason.get().is_some() {
                return Poll::Ready(Err(SendError::NotOpen));
            }
            if self.is_full.get() || self.ordered.get() >= MAX_ORDERED {
                return waiter.get_or_insert_with(|| self.waiter()).wait(context);
            }
            self.push(order.take().expect("a future is not polled behind its end"));
            Poll::Ready(Ok(()))
        })
    }

    /// Orders a call of the connection, and waits for what it gives.
    pub(super) async fn ask<T: 'static>(
        &self,
        call: impl FnOnce(&mut Peer<'_>) -> T + 'static,
    ) -> Result<T, SendError> {
        let answer = Rc::<Cell<Option<T>>>::default();
        let tell = Rc::clone(&answer);
        self.order(Order::Call(Box::new(move |peer| tell.set(Some(call(peer)))))).await?;
        let waiter = self.waiter();
        future::poll_fn(|context| match answer.take() {
            Some(answer) => Poll::Ready(Ok(answer)),
            None if self.reason.get().is_some() => Poll::Ready(Err(SendError::NotOpen)),
            None => waiter.wait(context),
        })
        .await
    }

    /// Orders a Close with a legal code and reason, unless there was one; nothing comes behind it.
    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        if !self.is_closing.replace(true) && self.reason.get().is_none() {
            let reason = reason.to_owned();
            self.push(Order::Call(Box::new(move |peer| {
                peer.close(code, &reason).ok();
            })));
        }
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> &CloseReason {
        let waiter = self.waiter();
        future::poll_fn(|context| match self.close_reason() {
            Some(reason) => Poll::Ready(reason),
            None => waiter.wait(context),
        })
        .await
    }

    fn waiter(&self) -> Waiter<'_> {
        let number = self.next_waiter.get();
        self.next_waiter.set(number + 1);
        Waiter { waiting: &self.waiting, number }
    }

    #[inline]
    fn push(&self, order: Order) {
        self.ordered.set(self.ordered.get() + order.len());
        self.orders.borrow_mut().push_back(order);
        self.call();
    }

    fn call(&self) {
        if !self.is_called.replace(true) {
            self.tasks.call(self.handle.id());
        }
    }

    // ---- the service's side --------------------------------------------------------------------

    /// Something came from the peer.
    pub(super) fn receive(&self, unit: U, peer: &mut Peer<'_>) {
        if self.is_deaf.get() {
            return;
        }
        self.unread.set(self.unread.get() + unit.payload_len() + OVERHEAD);
        self.incoming.borrow_mut().push_back(unit);
        // What the peer sent is answered before its next frame is looked at: that may be its Close, and
        // nothing goes out behind the answer to that.
        match self.receiver.take() {
            Some(Receiver::Task(task)) => self.run(|| self.tasks.poll_now(task), peer),
            Some(Receiver::Waker(waker)) => {
                self.run(|| self.tasks.run_woken_by(|| waker.wake()), peer);
            }
            None => {}
        }
        if self.unread.get() > MAX_UNREAD {
            self.is_paused.set(true);
            peer.pause_reading();
        }
    }

    /// Has `poll` poll a task, and carries out what that orders.
    pub(super) fn run<T>(&self, poll: impl FnOnce() -> T, peer: &mut Peer<'_>) -> T {
        let was_called = self.is_called.replace(true);
        let done = poll();
        let mut rounds = 0;
        while rounds < MAX_ROUNDS && self.wants_call() {
            rounds += 1;
            let somebody_waits = !self.waiting.borrow().is_empty();
            if somebody_waits {
                self.tasks.run_woken_by(|| self.obey(peer));
            } else {
                self.obey(peer);
            }
        }
        self.is_called.set(was_called);
        if rounds == MAX_ROUNDS && self.wants_call() {
            self.call();
        }
        done
    }

    fn wants_call(&self) -> bool {
        !self.orders.borrow().is_empty() || self.is_to_resume()
    }

    /// The service is called.
    pub(super) fn called(&self, peer: &mut Peer<'_>) {
        self.is_called.set(false);
        self.obey(peer);
    }

    /// Carries out what was ordered.
    fn obey(&self, peer: &mut Peer<'_>) {
        if self.is_to_resume() {
            self.is_paused.set(false);
            peer.resume_reading();
        }
        let next = || self.orders.borrow_mut().pop_front();
        for order in iter::from_fn(next) {
            match order {
                // It fails only where somebody else has closed the connection: senders learn of that now.
                Order::Send(message) => {
                    let is_sent = peer.send(message).is_ok();
                    self.is_closing.set(self.is_closing.get() || !is_sent);
                }
                Order::Call(call) => call(peer),
            }
        }
        self.ordered.set(0);
        self.is_full.set(peer.is_full());
        self.wake_waiting();
    }

    /// The connection has ended.
    pub(super) fn end(&self, reason: &CloseReason) {
        self.reason.get_or_init(|| reason.clone().into());
        self.orders.take();
        self.wake_waiting();
        match self.receiver.take() {
            Some(Receiver::Task(task)) => self.tasks.wake(task),
            Some(Receiver::Waker(waker)) => waker.wake(),
            None => {}
        }
    }

    #[inline]
    fn wake_waiting(&self) {
        if !self.waiting.borrow().is_empty() {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        self.waiting.take().into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// Somebody who may come to wait for room or for the end; once this is dropped, they do not.
struct Waiter<'c> {
    waiting: &'c RefCell<Vec<(u64, Waker)>>,
    number: u64,
}

impl Waiter<'_> {
    fn wait<T>(&self, context: &Context<'_>) -> Poll<T> {
        let before = self.leave();
        let waker = before.filter(|waker| waker.will_wake(context.waker()));
        let waker = waker.unwrap_or_else(|| context.waker().clone());
        self.waiting.borrow_mut().push((self.number, waker));
        Poll::Pending
    }

    /// What was to wake them, where they wait.
    fn leave(&self) -> Option<Waker> {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(|&(number, _)| number == self.number)?;
        Some(waiting.swap_remove(at).1)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        // What a waker's own end does, it does behind the borrow.
        drop(self.leave());
    }
}

/// A queue that most often holds one thing at most, and no memory at rest.
struct Queue<T> {
    first: Option<T>,
    rest: VecDeque<T>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { first: None, rest: VecDeque::new() }
    }
}

impl<T> Queue<T> {
    fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }

    fn push_back(&mut self, value: T) {
        if self.is_empty() {
            self.first = Some(value);
        } else {
            self.rest.push_back(value);
        }
    }

    fn pop_front(&mut self) -> Option<T> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let value = self.rest.pop_front();
        if value.is_some() && self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{Arc, mpsc},
        task::Wake,
        time::Duration,
    };

    use super::*;
    use crate::{Server, Session, testing};

    /// Wakes nobody.
    struct Nobody;

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn who_waits_no_more_leaves_nothing_behind() {
        let (tell, left) = mpsc::channel();
        let builder = Server::builder().websocket("/", move |session: Session| {
            let tell = tell.clone();
            async move {
                let nobody = Arc::new(Nobody);
                for _ in 0..100 {
                    let waker = Waker::from(Arc::clone(&nobody));
                    let ended = pin!(session.ended());
                    assert!(ended.poll(&mut Context::from_waker(&waker)).is_pending());
                }
                tell.send(Arc::strong_count(&nobody) - 1).unwrap();
                session.ended().await;
                Ok(())
            }
        });
        let server = testing::Server::new(builder);
        let client = server.connect("/").unwrap();
        assert_eq!(left.try_recv(), Ok(0));
        drop(client);
        server.advance(Duration::ZERO);
        assert_eq!(server.connections(), 0, "who waits still is woken");
    }

    #[test]
    fn a_queue_keeps_the_order_and_no_memory() {
        let mut queue = Queue::default();
        let mut expected = VecDeque::new();
        for round in 0..1_000u32 {
            // Grows and shrinks again and again.
            if round.wrapping_mul(2_654_435_761) >> 16 & 7 < 4 + (round / 100 % 2) * 2 - 1 {
                queue.push_back(round);
                expected.push_back(round);
            } else {
                assert_eq!(queue.pop_front(), expected.pop_front());
            }
            assert_eq!(queue.is_empty(), expected.is_empty());
        }
        while let Some(value) = expected.pop_front() {
            assert_eq!(queue.pop_front(), Some(value));
        }
        assert_eq!((queue.pop_front(), queue.rest.capacity()), (None, 0));
    }
}
