//! A connection and its application, for the length of one call.
//!
//! Input becomes events, events become calls of the [`Service`], and what the service sends stays in
//! the worker's output until the turn ends: but for a large answer to the last that was read, which leaves
//! at once, uncopied. A panic in a service ends here.

use std::{cell::Cell, mem, rc::Rc};

use super::{
    Admission,
    call::{Call, Pending},
    connection::{Decision, Link, Peer, Stage},
    context::Context,
    socket::Socket,
};
use crate::{
    guard::{Panicked, guard},
    protocol::{
        close::{CloseCause, CloseCode, Timeout},
        connection::{Event, State},
        handshake::{HandshakeError, HeadReader},
    },
    router::{self, Deciding, Opening, Routed, Routes, Verdict},
    service::{Answer, Outgoing, Peer as Lent, PeerId, Service, Tasks},
};

/// Units of work that a call of the application counts for: half a microsecond.
const CALL: u64 = 5_120;

/// Units of work for each byte inflated, as [`Pool::take_work`] counts them.
///
/// [`Pool::take_work`]: crate::protocol::buffer::Pool::take_work
const INFLATED: u64 = 8;

/// One connection while it is served. What it sends is left for the end of the turn when this ends.
pub(super) struct Serving<'a, S: Socket> {
    link: &'a mut Link<S>,
    stage: &'a mut Stage,
    context: &'a mut Context,
    pending: Pending,
    /// The event in hand is the last of what was read.
    is_last: bool,
}

impl<'a, S: Socket> Serving<'a, S> {
    pub(super) fn new(peer: &'a mut Peer<S>, context: &'a mut Context) -> Self {
        let Peer { link, stage } = peer;
        let pending = Pending::new(context);
        Self { link, stage, context, pending, is_last: false }
    }

    /// Serves `input` until the worker has done `until` units of work; gives how many bytes of its end
    /// are left for later.
    pub(super) fn input(&mut self, mut input: &mut [u8], routes: &Routes, until: u64) -> usize {
        if let Stage::Opening(_) = self.stage {
            self.open(&mut input, routes);
        }
        let left = until.saturating_sub(self.context.work()) / INFLATED;
        self.context.pool.set_inflate_allowance(left as usize + 1);
        while self.link.is_heard() && self.link.connection.state().receives() {
            let Self { link, context, .. } = &mut *self;
            if context.work() >= until {
                break;
            }
            let (pool, output) = (&mut context.pool, &mut context.output);
            let sent = output.len();
            let event = link.connection.receive(&mut input, context.now, pool, output);
            if self.context.output.len() > sent {
                self.answered(sent);
            }
            match event {
                Some(event) => {
                    self.is_last = input.is_empty();
                    self.deliver(event);
                }
                // Where some is left, what may be inflated is used up.
                None => break,
            }
        }
        let is_kept = self.link.connection.state().receives() || self.is_deciding();
        if is_kept { input.len() } else { 0 }
    }

    /// Serves `len` bytes that were read straight into their message. `is_last` says whether that is all
    /// that was read.
    pub(super) fn input_in_place(&mut self, len: usize, is_last: bool) {
        self.is_last = is_last;
        let Self { link, context, .. } = &mut *self;
        let sent = context.output.len();
        let event = link.connection.receive_in_place(len, context.now, &mut context.output);
        if self.context.output.len() > sent {
            self.answered(sent);
        }
        if let Some(event) = event {
            self.deliver(event);
        }
    }

    /// The connection has answered by itself, by a Pong or a Close: that is in the output from `sent` on, and
    /// stays behind what was published before.
    #[cold]
    fn answered(&mut self, sent: usize) {
        let Self { link, context, pending, .. } = self;
        if link.may_follow(context) {
            let answer = context.output.split_off(sent);
            pending.follow(link, context);
            context.output.extend(answer);
        }
    }

    /// What waited for the peer has left.
    pub(super) fn drained(&mut self) {
        self.call(|service, peer| service.drained(peer));
    }

    /// A task has asked for its service, or has decided on its request.
    pub(super) fn woken(&mut self) {
        match mem::replace(self.stage, Stage::Ending) {
            Stage::Deciding(decision) => self.conclude(*decision),
            stage => {
                *self.stage = stage;
                self.call(|service, peer| service.woken(peer));
            }
        }
    }

    /// What is sent from now on is sent by a command.
    pub(super) fn for_command(mut self) -> Self {
        self.pending.for_command();
        self
    }

    /// Does something to the connection as its application could.
    pub(super) fn call_link<T>(&mut self, call: impl FnOnce(&mut Call<'_, S>) -> T) -> T {
        let Self { link, context, pending, .. } = self;
        call(&mut Call { link, context, pending, at_once: false })
    }

    /// Answers a request that becomes no connection.
    fn refuse(&mut self, answer: impl Into<Answer>) {
        let answer = answer.into();
        self.answer(&answer.encode(false), CloseCause::Answered(answer.status));
    }

    fn is_deciding(&self) -> bool {
        matches!(self.stage, Stage::Deciding(_))
    }

    /// It holds too much of input that is not whole: gives it up.
    pub(super) fn shed(&mut self) {
        if matches!(self.stage, Stage::Opening(_)) {
            self.refuse(router::busy());
            return;
        }
        let Self { link, context, pending, .. } = self;
        pending.follow(link, context);
        let (code, text) = (CloseCode::TRY_AGAIN_LATER, "too much unfinished input");
        let now = context.now;
        link.connection.give_up(CloseCause::Local, code, text, now, &mut context.output);
    }

    /// Answers a request that took too long to arrive, or to be decided on.
    pub(super) fn refuse_late(&mut self) {
        let answer = match self.is_deciding() {
            true => {
                Answer::text(503, "this server could not decide in time: try again in a moment")
            }
            false => HandshakeError::Timeout.into(),
        };
        self.answer(&answer.encode(false), CloseCause::Timeout(Timeout::Handshake));
    }

    /// Reads the opening handshake from `input`; leaves what follows it.
    fn open(&mut self, input: &mut &mut [u8], routes: &Routes) {
        let Stage::Opening(reader) = self.stage else { return };
        let mut fresh = HeadReader::default();
        let limits = &routes.defaults().limits;
        let read = reader.as_deref_mut().unwrap_or(&mut fresh).read(input, limits);
        let head = match read {
            Ok(Some(head)) => head,
            Ok(None) => {
                reader.get_or_insert_with(|| Box::new(fresh));
                return;
            }
            Err(error) => return self.refuse(error),
        };
        if self.link.admission == Admission::OverLimit {
            self.refuse(router::busy());
            return;
        }
        let addr = self.link.addr();
        self.context.spend(CALL);
        match guard(|| routes.route(&head, addr)) {
            Ok(routed) => self.settle(routed),
            Err(Panicked) => {
                self.context.counters.panics.add(1);
                self.refuse_after_panic();
            }
        }
    }

    fn refuse_after_panic(&mut self) {
        log::error!("a route panicked over a request of {}", self.link.addr());
        self.refuse(Answer::text(500, "this server met a fault of its own"));
    }

    /// Does what became of a request.
    fn settle(&mut self, routed: Routed) {
        match routed {
            Routed::Upgrade { response, service, settings, terms } => {
                self.context.output.extend_from_slice(&response);
                let connection = &mut self.link.connection;
                connection.upgrade(settings, self.context.now);
                connection.agree_on(terms);
                self.link.arm(self.context);
                *self.stage = Stage::Serving(service);
                self.call(|service, peer| service.opened(peer));
            }
            Routed::Later { decision, opening } => self.decide(decision, opening),
            Routed::Answer { status, response } => {
                self.answer(&response, CloseCause::Answered(status));
            }
        }
    }

    /// Has the application decide in a task of its own. What comes behind the request waits.
    fn decide(&mut self, deciding: Deciding, opening: Opening) {
        let (id, tasks) = self.call_link(|call| (call.id(), call.tasks()));
        let verdict = Rc::<Cell<Option<Verdict>>>::default();
        let (tell, done) = (Rc::clone(&verdict), CallAtEnd(id, tasks.clone()));
        let task = tasks.spawn(async move {
            let _done = done;
            tell.set(Some(deciding.await));
        });
        self.link.paused = true;
        *self.stage = Stage::Deciding(Box::new(Decision { opening, verdict, task }));
    }

    /// The application has decided, or panicked over it.
    fn conclude(&mut self, decision: Decision) {
        let Decision { opening, verdict, task } = decision;
        drop(task);
        // Before the application is called, as that may pause the reading itself.
        self.link.resume(self.context);
        match verdict.take() {
            // One that is not used is dropped there.
            Some(verdict) => match guard(|| opening.finish(verdict)) {
                Ok(routed) => self.settle(routed),
                Err(Panicked) => {
                    self.context.counters.panics.add(1);
                    self.refuse_after_panic();
                }
            },
            // The tasks have counted it.
            None => self.refuse_after_panic(),
        }
    }

    fn answer(&mut self, answer: &[u8], cause: CloseCause) {
        let Self { link, context, .. } = self;
        context.output.extend_from_slice(answer);
        let now = context.now;
        link.connection.give_up(cause, CloseCode::ABNORMAL, "", now, &mut context.output);
        let stage = mem::replace(self.stage, Stage::Ending);
        if guard(|| drop(stage)) == Err(Panicked) {
            context.counters.panics.add(1);
        }
    }

    /// Hands an event to the application. Once our Close is sent it hears nothing but the end.
    #[inline]
    fn deliver(&mut self, event: Event<'_>) {
        let state = self.link.connection.state();
        match event {
            Event::Message(message) if state == State::Open => {
                self.call(|service, peer| service.message(peer, message));
            }
            Event::Frame(frame) if matches!(state, State::Open | State::CloseReceived) => {
                self.call(|service, peer| service.frame(peer, frame));
            }
            Event::Message(_) | Event::Frame(_) => {}
        }
    }

    /// Calls the application. A panic of its ends where the connection was to be served.
    #[inline]
    fn call(&mut self, tell: impl FnOnce(&mut dyn Service, &mut Lent<'_>)) {
        let Self { link, stage, context, pending, is_last } = self;
        let Stage::Serving(service) = stage else { return };
        let mut call = Call { link, context, pending, at_once: *is_last };
        tell(&mut **service, &mut Lent::new(&mut call));
        context.spend(CALL);
        context.charge_published();
    }

    #[cold]
    pub(super) fn end_after_panic(&mut self) {
        let Self { link, context, pending, .. } = self;
        context.counters.panics.add(1);
        pending.follow(link, context);
        log::error!("the service of {} panicked; its connection is closed", link.addr());
        let (code, text) = (CloseCode::INTERNAL_ERROR, "internal error");
        let now = context.now;
        link.connection.give_up(CloseCause::Local, code, text, now, &mut context.output);
    }
}

/// Has a connection's service called when it is dropped.
struct CallAtEnd(PeerId, Tasks);

impl Drop for CallAtEnd {
    fn drop(&mut self) {
        self.1.call(self.0);
    }
}

impl<S: Socket> Drop for Serving<'_, S> {
    fn drop(&mut self) {
        self.pending.leave(self.link, self.context);
    }
}

impl<S: Socket> Peer<S> {
    /// As [`Link::count_unfinished`].
    #[inline]
    pub(super) fn count_unfinished(&mut self, context: &mut Context) {
        let head = match &self.stage {
            Stage::Opening(Some(reader)) => reader.held(),
            Stage::Opening(None) | Stage::Deciding(_) | Stage::Serving(_) | Stage::Ending => 0,
        };
        self.link.count_unfinished(head, context);
    }

    /// Tells the application, where it was not told yet, that its connection has ended; drops it.
    pub(super) fn tell_closed(&mut self, context: &Context) {
        let mut service = match mem::replace(&mut self.stage, Stage::Ending) {
            Stage::Serving(service) => service,
            // A decision may hold a service that nobody has had yet.
            stage @ (Stage::Opening(_) | Stage::Deciding(_) | Stage::Ending) => {
                if guard(|| drop(stage)) == Err(Panicked) {
                    context.counters.panics.add(1);
                }
                return;
            }
        };
        self.link.close_handles();
        if let Some(reason) = self.link.connection.close_reason()
            && guard(|| service.closed(reason)).is_err()
        {
            context.counters.panics.add(1);
            log::error!("the service of {} panicked at its end", self.link.addr());
        }
        drop_quietly(service, context);
    }
}

fn drop_quietly(service: Box<dyn Service>, context: &Context) {
    if guard(|| drop(service)).is_err() {
        context.counters.panics.add(1);
        log::error!("a service panicked while it was dropped");
    }
}
