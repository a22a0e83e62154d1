//! The one place where panics of foreign code end.
//!
//! An application's methods, closures, futures, wakers, extensions and destructors are called through
//! [`guard`]. What they were working on is lost; the thread that called them goes on. Whoever calls says
//! in the log whose code it was.

use std::{
    any::Any,
    mem,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Foreign code has panicked. The panic hook has told of it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Calls foreign code; a panic ends here.
///
/// A panic while another one unwinds aborts the process, as it does everywhere in Rust: only code whose
/// destructors panic while its own panic unwinds can have that.
///
/// # Errors
/// [`Panicked`] instead of what the call would have given.
#[inline]
pub(crate) fn guard<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(discard)
}

/// Something foreign whose destructor is called through [`guard`].
pub(crate) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        guard(|| drop(value)).ok();
    }
}

/// Drops what a panic carried, which is foreign too and may panic in its destructor.
#[cold]
fn discard(payload: Box<dyn Any + Send>) -> Panicked {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(another);
    }
    Panicked
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Panics when it is dropped.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic_any(Bomb);
        }
    }

    #[test]
    fn what_does_not_panic_gives_what_it_gives() {
        assert_eq!(guard(|| 7), Ok(7));
    }

    #[test]
    fn a_panic_ends_here_whatever_it_carries() {
        assert_eq!(guard(|| panic!("foreign")), Err::<(), _>(Panicked));
        assert_eq!(guard(|| panic_any(Bomb)), Err::<(), _>(Panicked));
        assert_eq!(guard(|| drop(Bomb)), Err(Panicked));
    }

    #[test]
    fn what_is_guarded_is_there_until_it_is_dropped_in_peace() {
        let guarded = Guarded::new((7, Bomb));
        assert_eq!((*guarded).0, 7);
        drop(guarded);
    }
}
