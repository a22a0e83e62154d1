//! What lies between a session's task and its connection: what came, what is to be sent, and who waits.
//!
//! The task takes what came and leaves orders; the [service](super::serving) puts in what came and carries
//! the orders out. Both are on one thread, never at once.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{BTreeMap, VecDeque},
    future,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use log::Level;

use crate::{
    protocol::{
        close::{CloseCode, CloseReason},
        error::SendError,
        frame::{Frame, Opcode},
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

    /// What the peer is owed for it, where nobody receives it.
    fn into_reply(self) -> Option<Self> {
        None
    }

    /// Sends what [`into_reply`](Self::into_reply) has given.
    fn reply(self, _: &mut Peer<'_>) {}
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

    /// §5.5.1, §5.5.2: a Close is answered with the peer's own code and reason, a Ping with its payload.
    fn into_reply(mut self) -> Option<Self> {
        self.opcode = match self.opcode {
            Opcode::Close => Opcode::Close,
            Opcode::Ping => Opcode::Pong,
            Opcode::Continuation | Opcode::Text | Opcode::Binary | Opcode::Pong => return None,
        };
        Some(self)
    }

    fn reply(self, peer: &mut Peer<'_>) {
        peer.send_frame(self).ok();
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
    /// Those that wait until there is room for their order.
    senders: Waiting,
    /// Those that wait for the end.
    enders: Waiting,
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
            senders: Waiting::default(),
            enders: Waiting::default(),
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

    /// Nobody receives any more. What the peer sends from now on is read and dropped; in raw mode its Pings
    /// and its Close are answered here, as nobody else can.
    pub(super) fn stop_receiving(&self) {
        self.is_deaf.set(true);
        self.unread.set(0);
        let mut incoming = self.incoming.take();
        while let Some(unit) = incoming.pop_front() {
            if let Some(reply) = unit.into_reply() {
                self.push(Order::Call(Box::new(move |peer| reply.reply(peer))));
            }
        }
        if self.is_paused.get() {
            self.call();
        }
        let receiver = self.receiver.take();
        self.guard(|| drop(receiver));
    }

    /// Leaves an order, once there is room.
    pub(super) fn order(&self, order: Order) -> impl Future<Output = Result<(), SendError>> {
        let (mut order, mut waiter) = (Some(order), None);
        future::poll_fn(move |context| {
            if self.is_closing.get() || self.reason.get().is_some() {
                return Poll::Ready(Err(SendError::NotOpen));
            }
            if !self.has_room() {
                let len = order.as_ref().map_or(0, Order::len);
                return waiter.get_or_insert_with(|| self.waiter(&self.senders, len)).wait(context);
            }
            self.push(order.take().expect("a future is not polled behind its end"));
            Poll::Ready(Ok(()))
        })
    }

    fn has_room(&self) -> bool {
        !self.is_full.get() && self.ordered.get() < MAX_ORDERED
    }

    /// Orders a call of the connection, and waits for what it gives.
    pub(super) async fn ask<T: 'static>(
        &self,
        call: impl FnOnce(&mut Peer<'_>) -> T + 'static,
    ) -> Result<T, SendError> {
        let result = Rc::<Asked<T>>::default();
        let asking = Asking { result: Rc::clone(&result), tasks: self.tasks.clone() };
        let call = move |peer: &mut Peer<'_>| {
            asking.result.value.set(Some(call(peer)));
            asking.wake();
        };
        self.order(Order::Call(Box::new(call))).await?;
        future::poll_fn(|context| match result.value.take() {
            Some(value) => Poll::Ready(Ok(value)),
            None if result.is_over.get() => Poll::Ready(Err(SendError::NotOpen)),
            None => {
                result.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
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
        let waiter = self.waiter(&self.enders, 0);
        future::poll_fn(|context| match self.close_reason() {
            Some(reason) => Poll::Ready(reason),
            None => waiter.wait(context),
        })
        .await
    }

    fn waiter<'c>(&'c self, among: &'c Waiting, len: usize) -> Waiter<'c> {
        let number = among.next.get();
        among.next.set(number + 1);
        Waiter { among, number, len, tasks: &self.tasks }
    }

    /// Calls the application; a panic of its closes the connection with 1011, and gives `None`.
    fn guard<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        let done = self.tasks.guard(call).ok();
        if done.is_none() {
            self.fail(Level::Error, "code of the application panicked");
        }
        done
    }

    /// Orders a Close with 1011 as the application has failed, and says in the log why.
    #[cold]
    pub(super) fn fail(&self, level: Level, why: &str) {
        let (addr, path) = (self.request().addr(), self.request().path());
        // The logger is the application's too.
        self.tasks
            .guard(|| log::log!(level, "the session of {addr} at {path:?} fails: {why}"))
            .ok();
        self.close(CloseCode::INTERNAL_ERROR, "internal error");
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
            return unit.into_reply().map_or((), |reply| reply.reply(peer));
        }
        self.unread.set(self.unread.get() + unit.payload_len() + OVERHEAD);
        self.incoming.borrow_mut().push_back(unit);
        // What the peer sent is answered before its next frame is looked at: that may be its Close, and
        // nothing goes out behind the answer to that.
        match self.receiver.take() {
            Some(Receiver::Task(task)) => self.run(|| self.tasks.poll_now(task), peer),
            Some(Receiver::Waker(waker)) => {
                let wake = || self.guard(|| waker.wake());
                self.run(|| self.tasks.run_woken_by(wake), peer);
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
            self.tasks.run_woken_by(|| self.obey(peer));
        }
        self.is_called.set(was_called);
        if rounds == MAX_ROUNDS && self.wants_call() || self.has_room_for_senders() {
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

    /// Carries out what was ordered before this call.
    fn obey(&self, peer: &mut Peer<'_>) {
        if self.is_to_resume() {
            self.is_paused.set(false);
            peer.resume_reading();
        }
        let count = self.orders.borrow().len();
        for _ in 0..count {
            let Some(order) = self.orders.borrow_mut().pop_front() else { break };
            self.ordered.set(self.ordered.get() - order.len());
            match order {
                // It fails only where somebody else has closed the connection: senders learn of that now.
                Order::Send(message) => {
                    let is_sent = peer.send(message).is_ok();
                    self.is_closing.set(self.is_closing.get() || !is_sent);
                }
                Order::Call(call) => {
                    self.guard(|| call(peer));
                }
            }
        }
        self.is_full.set(peer.is_full());
        if !self.senders.is_empty() {
            self.wake_senders();
        }
    }

    /// The connection has ended.
    pub(super) fn end(&self, reason: &CloseReason) {
        self.reason.get_or_init(|| reason.clone().into());
        self.drop_orders();
        self.wake_all(&self.senders);
        self.wake_all(&self.enders);
        match self.receiver.take() {
            Some(Receiver::Task(task)) => self.tasks.wake(task),
            Some(Receiver::Waker(waker)) => {
                self.guard(|| waker.wake());
            }
            None => {}
        }
    }

    /// Wakes those who wait for room, in their order: as many as there is room for, or all of them where
    /// nothing can be sent any more.
    #[cold]
    fn wake_senders(&self) {
        if self.is_closing.get() {
            return self.wake_all(&self.senders);
        }
        let mut promised = self.ordered.get();
        while !self.is_full.get()
            && promised < MAX_ORDERED
            && let Some((waker, len)) = self.senders.pop_first()
        {
            promised += len;
            self.guard(|| waker.wake());
        }
        // One that was woken may leave its place unused. Then it is the next ones' turn.
        if self.has_room_for_senders() {
            self.call();
        }
    }

    fn has_room_for_senders(&self) -> bool {
        !self.senders.is_empty() && self.has_room()
    }

    #[cold]
    fn wake_all(&self, waiting: &Waiting) {
        for (waker, _) in waiting.wakers.take().into_values() {
            self.guard(|| waker.wake());
        }
    }

    fn drop_orders(&self) {
        let mut orders = self.orders.take();
        while let Some(order) = orders.pop_front() {
            self.guard(|| drop(order));
        }
    }
}

impl<U> Drop for Channel<U> {
    fn drop(&mut self) {
        let receiver = self.receiver.take();
        self.tasks.guard(|| drop(receiver)).ok();
        let mut orders = self.orders.take();
        while let Some(order) = orders.pop_front() {
            self.tasks.guard(|| drop(order)).ok();
        }
    }
}

/// What an [ask](Channel::ask) waits for.
struct Asked<T> {
    value: Cell<Option<T>>,
    /// The call was made, or never will be.
    is_over: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self { value: Cell::new(None), is_over: Cell::default(), waker: Cell::default() }
    }
}

/// The side of an [ask](Channel::ask) that is with its order. Whatever becomes of that, who has asked is
/// woken.
struct Asking<T> {
    result: Rc<Asked<T>>,
    tasks: Tasks,
}

impl<T> Asking<T> {
    fn wake(&self) {
        self.result.is_over.set(true);
        if let Some(waker) = self.result.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Drop for Asking<T> {
    fn drop(&mut self) {
        self.tasks.guard(|| self.wake()).ok();
    }
}

/// Those who wait for one thing, in the order in which they began to: what wakes them, and the length of
/// their order.
#[derive(Default)]
struct Waiting {
    wakers: RefCell<BTreeMap<u64, (Waker, usize)>>,
    /// The number of the next one to wait.
    next: Cell<u64>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.wakers.borrow().is_empty()
    }

    fn pop_first(&self) -> Option<(Waker, usize)> {
        self.wakers.borrow_mut().pop_first().map(|(_, waiting)| waiting)
    }
}

/// Somebody who may come to wait; once this is dropped, they do not.
struct Waiter<'c> {
    among: &'c Waiting,
    number: u64,
    len: usize,
    tasks: &'c Tasks,
}

impl Waiter<'_> {
    fn wait<T>(&self, context: &Context<'_>) -> Poll<T> {
        let wakers = &self.among.wakers;
        let is_known = |(waker, _): &(Waker, usize)| waker.will_wake(context.waker());
        if !wakers.borrow().get(&self.number).is_some_and(is_known) {
            // A waker may do anything when it is cloned, and at its end.
            let waiting = (context.waker().clone(), self.len);
            let before = wakers.borrow_mut().insert(self.number, waiting);
            drop(before);
        }
        Poll::Pending
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let waiting = self.among.wakers.borrow_mut().remove(&self.number);
        self.tasks.guard(|| drop(waiting)).ok();
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

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
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
