//! The lock, the atomics and the thread locals of the code that several threads run without waiting for
//! each other: [`mailbox`](crate::mailbox) and the wakers of tasks.
//!
//! They are the standard library's. Under `--cfg loom` they are loom's, which runs a test once for each order
//! in which the threads may run and for each value that a load may give under the rules of the orderings.
//! Such tests are called models here and stand in `models.rs` beside the code that they check.

#[cfg(not(loom))]
pub(crate) use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
    },
    thread_local,
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize},
};

/// As the standard library's. loom's own takes no `const` block.
#[cfg(loom)]
macro_rules! local {
    ($($(#[$attribute:meta])* static $name:ident: $type:ty = const { $value:expr };)*) => {
        ::loom::thread_local! {
            $($(#[$attribute])* static $name: $type = $value;)*
        }
    };
}

#[cfg(loom)]
pub(crate) use local as thread_local;

/// Runs `model` once for each order of its threads in which no more than three times a thread is stopped that
/// could go on; `LOOM_MAX_PREEMPTIONS` sets another bound. Fails where a run panics or where all threads wait
/// for each other.
#[cfg(all(loom, test))]
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(model);
}
