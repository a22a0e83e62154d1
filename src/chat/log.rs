//! What was said in a room, kept for those who come later.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Where a room's messages are kept. In memory it is a [`Ring`]; a store that outlives the process
/// comes in here.
///
/// It is called under the room's lock, in the order in which everyone sees the messages.
pub(super) trait Log: Send {
    /// Keeps one more line.
    fn append(&mut self, line: Arc<str>);

    /// The last lines, oldest first.
    fn recent(&self) -> Vec<Arc<str>>;
}

/// The last lines of a room, in memory.
///
/// Three bounds: lines in this ring, bytes in this ring, bytes in all rings of a chat. Whoever would
/// pass one gives up its own oldest lines until it is kept; so at the bound in all, a ring that has
/// lines goes on with about as many, and one that has none keeps none. Nobody's talk is hindered.
pub(super) struct Ring {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    bounds: Bounds,
    all: Arc<AtomicUsize>,
}

/// What a [`Ring`] may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Lines in it.
    pub(super) lines: usize,
    /// Bytes in it.
    pub(super) bytes: usize,
    /// Bytes in all that count in the same place.
    pub(super) all: usize,
}

impl Ring {
    /// An empty ring that counts its bytes in `all`, too.
    pub(super) fn new(bounds: Bounds, all: Arc<AtomicUsize>) -> Self {
        Self { lines: VecDeque::new(), bytes: 0, bounds, all }
    }

    fn is_over(&self) -> bool {
        self.lines.len() > self.bounds.lines
            || self.bytes > self.bounds.bytes
            || self.all.load(Ordering::Relaxed) > self.bounds.all
    }
}

impl Log for Ring {
    fn append(&mut self, line: Arc<str>) {
        self.bytes += size(&line);
        self.all.fetch_add(size(&line), Ordering::Relaxed);
        self.lines.push_back(line);
        while self.is_over()
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= size(&oldest);
            self.all.fetch_sub(size(&oldest), Ordering::Relaxed);
        }
    }

    fn recent(&self) -> Vec<Arc<str>> {
        self.lines.iter().cloned().collect()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes that a line holds on to: its own, two counts beside them, and what points at it.
fn size(line: &Arc<str>) -> usize {
    line.len() + 2 * size_of::<usize>() + size_of::<Arc<str>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of `bytes` bytes that counts for as many, all told.
    fn line(n: usize, bytes: usize) -> Arc<str> {
        format!("{n:0width$}", width = bytes - 32).into()
    }

    fn numbers(log: &Ring) -> Vec<usize> {
        log.recent().iter().map(|line| line.parse().unwrap()).collect()
    }

    #[test]
    fn the_oldest_lines_go_at_the_bound_in_lines() {
        let mut log = Ring::new(Bounds { lines: 3, bytes: 1_000, all: 1_000 }, Arc::default());
        for n in 0..5 {
            log.append(line(n, 40));
        }
        assert_eq!(numbers(&log), [2, 3, 4]);
    }

    #[test]
    fn the_oldest_lines_go_at_the_bound_in_bytes() {
        let mut log = Ring::new(Bounds { lines: 100, bytes: 300, all: 1_000 }, Arc::default());
        for n in 0..3 {
            log.append(line(n, 100));
        }
        assert_eq!(numbers(&log), [0, 1, 2], "at the bound");
        log.append(line(3, 40));
        assert_eq!(numbers(&log), [1, 2, 3], "past it");
        log.append(line(4, 301));
        assert_eq!(numbers(&log), [0; 0], "a line that is over by itself is not kept");
        assert_eq!(log.bytes, 0);
    }

    #[test]
    fn the_bound_in_all_holds_over_rooms_and_a_freed_room_gives_back() {
        let all = Arc::<AtomicUsize>::default();
        let bounds = Bounds { lines: 100, bytes: 300, all: 500 };
        let mut rooms: Vec<Ring> = (0..3).map(|_| Ring::new(bounds, Arc::clone(&all))).collect();
        for room in &mut rooms {
            for n in 0..4 {
                room.append(line(n, 100));
                assert!(all.load(Ordering::Relaxed) <= 500);
            }
        }
        assert_eq!(numbers(&rooms[0]), [1, 2, 3]);
        assert_eq!(numbers(&rooms[1]), [2, 3], "what the first had left");
        assert_eq!(numbers(&rooms[2]), [0; 0], "nothing was left");

        rooms.swap_remove(0);
        assert_eq!(all.load(Ordering::Relaxed), 200);
        rooms[0].append(line(4, 100));
        assert_eq!(numbers(&rooms[0]), [4]);
        rooms.clear();
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
