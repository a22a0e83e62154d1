//! Models of the mailbox: several threads post, one works; see [`crate::sync`].

use loom::{sync::Notify, thread};

use super::*;
use crate::sync::check;

/// A worker that only sleeps and takes its mail, as `server::worker` does.
#[derive(Clone)]
struct Worker {
    mailbox: Arc<Mailbox>,
    /// The system's event, which is kept until it is waited for.
    event: Arc<Notify>,
}

impl Worker {
    fn new() -> Self {
        let event = Arc::new(Notify::new());
        let set = Arc::clone(&event);
        Self { mailbox: Arc::new(Mailbox::new(move || set.notify())), event }
    }

    /// Waits for whatever may have come. loom fails where this never returns.
    fn wait(&self) {
        if self.mailbox.fall_asleep(false) {
            self.event.wait();
        }
        self.mailbox.wake_up();
    }

    /// Waits until there are `count` in `mail`.
    fn take_until(&self, count: usize, mail: &mut VecDeque<Mail>) {
        while mail.len() < count {
            if self.mailbox.is_empty() {
                self.wait();
            } else {
                self.mailbox.take(mail);
            }
        }
    }

    /// Runs `post` on another thread.
    fn beside<T: 'static>(
        &self,
        post: impl FnOnce(&Mailbox) -> T + 'static,
    ) -> thread::JoinHandle<T> {
        let mailbox = Arc::clone(&self.mailbox);
        thread::spawn(move || post(&mailbox))
    }
}

/// A command that is told by its size.
fn mail(size: usize) -> Mail {
    let peer = PeerId { worker: 0, slot: 0, generation: 0 };
    Mail::Command(peer, Command::Ping(vec![0; size].into()))
}

fn sizes<'m>(mail: impl IntoIterator<Item = &'m Mail>) -> Vec<usize> {
    mail.into_iter().map(Mail::size).collect()
}

#[test]
fn a_worker_never_sleeps_while_mail_waits() {
    check(|| {
        let worker = Worker::new();
        let posters = [1, 2].map(|size| worker.beside(move |mailbox| mailbox.post(mail(size))));
        worker.take_until(2, &mut VecDeque::new());
        for poster in posters {
            assert_eq!(poster.join().unwrap(), Ok(()));
        }
    });
}

#[test]
fn a_worker_never_sleeps_through_an_alert_and_sees_what_came_before_it() {
    check(|| {
        let worker = Worker::new();
        let arrivals = Arc::new(AtomicUsize::new(0));
        let alerts = [(); 2].map(|()| {
            let arrivals = Arc::clone(&arrivals);
            worker.beside(move |mailbox| {
                arrivals.fetch_add(1, Ordering::Relaxed);
                mailbox.alert();
            })
        });
        let mut seen = 0;
        while seen < 2 {
            worker.wait();
            if worker.mailbox.take_alert() {
                let before = mem::replace(&mut seen, arrivals.load(Ordering::Relaxed));
                assert_ne!(before, seen, "an alert came before what it tells of");
            }
        }
        alerts.into_iter().for_each(|alert| alert.join().unwrap());
    });
}

#[test]
fn a_worker_never_sleeps_through_a_stop_beside_mail() {
    check(|| {
        let worker = Worker::new();
        let stop = worker.beside(Mailbox::stop);
        let post = worker.beside(|mailbox| mailbox.post(mail(1)));
        while !worker.mailbox.is_stopping() {
            worker.wait();
            worker.mailbox.take(&mut VecDeque::new());
        }
        stop.join().unwrap();
        post.join().unwrap().unwrap();
        assert!(!worker.mailbox.asleep.load(Ordering::Relaxed));
    });
}

#[test]
fn mail_is_taken_in_the_order_of_each_poster_and_counted() {
    check(|| {
        let worker = Worker::new();
        let mailbox = &worker.mailbox;
        let _entered = mailbox.enter();
        let poster = worker.beside(|mailbox| [1, 2].map(|size| mailbox.post(mail(size))));
        let mut taken = VecDeque::new();
        mailbox.post(mail(4)).unwrap();
        mailbox.take(&mut taken);
        let own = mailbox.last_own();
        assert_eq!(sizes(taken.range(own as usize - 1..))[0], 4);
        mailbox.done(taken.len(), sizes(&taken).iter().sum());
        assert_eq!(poster.join().unwrap(), [Ok(()); 2]);
        mailbox.post(mail(8)).unwrap();
        let done = taken.len();
        mailbox.take(&mut taken);
        mailbox.done(taken.len() - done, sizes(taken.range(done..)).iter().sum());
        let mut taken = sizes(&taken);
        assert_eq!((taken.pop(), mailbox.last_own(), mailbox.posted()), (Some(8), 4, 4));
        taken.retain(|&size| size != 4);
        assert_eq!(taken, [1, 2]);
        let left = [&mailbox.items, &mailbox.bytes].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(left, [0, 0]);
        assert!(mailbox.is_empty());
    });
}

#[test]
fn what_is_posted_is_taken_or_refused_or_dropped_by_the_close() {
    check(|| {
        let worker = Worker::new();
        let poster = worker.beside(|mailbox| [1, 2].map(|size| mailbox.post(mail(size))));
        let other = worker.beside(|mailbox| mailbox.post(mail(4)));
        let mut taken = VecDeque::new();
        worker.mailbox.take(&mut taken);
        worker.mailbox.close();
        // A second look finds nothing, whoever posts meanwhile.
        let before = taken.len();
        worker.mailbox.take(&mut taken);
        assert_eq!(taken.len(), before);
        let posted = poster.join().unwrap();
        let all = [posted[0], posted[1], other.join().unwrap()];
        assert!(posted != [Err(PostError::Closed), Ok(())], "a closed mailbox took something");
        assert!(all.iter().all(|posted| matches!(posted, Ok(()) | Err(PostError::Closed))));
        for size in sizes(&taken) {
            assert_eq!(all[size / 2], Ok(()), "what was refused came out");
        }
        let accepted = all.iter().filter(|posted| posted.is_ok()).count();
        assert_eq!(worker.mailbox.posted(), accepted as u64);
        let queue = worker.mailbox.lock();
        assert!(queue.mail.is_empty() && queue.closed);
    });
}
