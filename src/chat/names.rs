//! Who is called what: names that are taken, and names that people are remembered by.

use std::collections::{BTreeMap, HashMap};

use super::name::Name;

/// Somebody whom the chat knows again, and shows to others by name alone.
///
/// All connections of one person may go by one name at a time, such as two tabs of a browser. What they
/// chose last is what they are called when they come back, unless somebody else took that name meanwhile:
/// a name is held by those who are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regular {
    /// Who it is: whoever comes with the same number is the same person, so it is one that nobody can
    /// guess or make up.
    pub id: u128,
    /// What they were called when the number was handed out, for a chat that has forgotten or never knew.
    pub name: Option<String>,
}

/// Names that were chosen. Those with numbers need no place here: nobody can choose one, and no number
/// comes twice.
#[derive(Debug)]
pub(super) struct Names {
    /// By their folded form.
    taken: HashMap<Name, Holder>,
    remembered: HashMap<u128, Remembered>,
    /// Who is remembered, in the order in which they last took a name.
    order: BTreeMap<u64, u128>,
    next: u64,
    max_remembered: usize,
}

/// Who goes by a name.
#[derive(Debug)]
struct Holder {
    /// `None` for somebody who is not known again.
    id: Option<u128>,
    /// Connections; at least one.
    seats: usize,
}

#[derive(Debug)]
struct Remembered {
    name: Name,
    /// The place in the order.
    at: u64,
}

impl Names {
    /// No names; those of at most `max_remembered` people are remembered.
    pub(super) fn new(max_remembered: usize) -> Self {
        let (taken, remembered, order) = Default::default();
        Self { taken, remembered, order, next: 0, max_remembered }
    }

    /// Has one more connection of `id` go by `name`; says whether it may.
    pub(super) fn take(&mut self, name: &Name, id: Option<u128>) -> bool {
        let holder = self.taken.entry(name.folded()).or_insert(Holder { id, seats: 0 });
        let is_own = holder.seats == 0 || id.is_some() && holder.id == id;
        holder.seats += usize::from(is_own);
        is_own
    }

    /// One connection less goes by `name`.
    pub(super) fn give_back(&mut self, name: &Name) {
        let name = name.folded();
        if let Some(holder) = self.taken.get_mut(&name) {
            holder.seats -= 1;
            if holder.seats == 0 {
                self.taken.remove(&name);
            }
        }
    }

    /// Remembers `id` by `name`; who took a name longest ago is forgotten where there are too many.
    pub(super) fn remember(&mut self, id: u128, name: Name) {
        let at = self.next;
        self.next += 1;
        if let Some(before) = self.remembered.insert(id, Remembered { name, at }) {
            self.order.remove(&before.at);
        }
        self.order.insert(at, id);
        if self.order.len() > self.max_remembered
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.remembered.remove(&oldest);
        }
    }

    /// What `id` chose to be called last.
    pub(super) fn recall(&self, id: u128) -> Option<&Name> {
        self.remembered.get(&id).map(|remembered| &remembered.name)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text, 64).unwrap()
    }

    #[test]
    fn a_name_is_held_by_one_person_in_all_its_seats() {
        let mut names = Names::new(10);
        let (me, you) = (Some(1), Some(2));
        assert!(names.take(&name("Anna"), me) && names.take(&name("anna"), me));
        assert!(!names.take(&name("ANNA"), you) && !names.take(&name("Anna"), None));
        names.give_back(&name("Anna"));
        assert!(!names.take(&name("Anna"), you), "one of two seats is left");
        names.give_back(&name("Anna"));
        assert!(names.take(&name("Anna"), None));
        assert!(!names.take(&name("Anna"), None), "two who are not known are not one");
        assert!(!names.take(&name("Anna"), me));
        names.give_back(&name("Anna"));
        names.give_back(&name("Anna"));
        assert!(names.is_empty());
    }

    #[test]
    fn who_took_a_name_longest_ago_is_forgotten() {
        let mut names = Names::new(3);
        for (id, text) in [(1, "a"), (2, "b"), (3, "c"), (1, "d"), (4, "e")] {
            names.remember(id, name(text));
        }
        let recalled = [1, 2, 3, 4].map(|id| names.recall(id).map(Name::as_str));
        assert_eq!(recalled, [Some("d"), None, Some("c"), Some("e")]);
        assert_eq!((names.remembered.len(), names.order.len()), (3, 3));
    }

    #[test]
    fn nobody_is_remembered_where_nobody_may_be() {
        let mut names = Names::new(0);
        names.remember(1, name("a"));
        assert_eq!(names.recall(1), None);
        assert!(names.order.is_empty());
    }
}
