//! A table whose places are used again, and whose names never are.

/// Values in numbered places. A name is a place and how often it was used before.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Names a value for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts in the value that `make` gives for its name.
    pub(crate) fn insert(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, value: None });
            u32::try_from(self.places.len() - 1).expect("there is no memory for 2³² values")
        });
        let place = &mut self.places[slot as usize];
        let key = Key { slot, generation: place.generation };
        place.value = Some(make(key));
        self.len += 1;
        key
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.slot as usize)?;
        place.value.as_mut().filter(|_| place.generation == key.generation)
    }

    /// The name of what is in a place now.
    pub(crate) fn key_at(&self, slot: u32) -> Option<Key> {
        let place = self.places.get(slot as usize)?;
        place.value.as_ref().map(|_| Key { slot, generation: place.generation })
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.slot as usize)?;
        let value = place.value.take_if(|_| place.generation == key.generation)?;
        self.len -= 1;
        // A place whose generations are used up is not filled again.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(key.slot);
        }
        Some(value)
    }

    /// The names of all values.
    pub(crate) fn keys(&self) -> Vec<Key> {
        (0..)
            .zip(&self.places)
            .filter(|(_, place)| place.value.is_some())
            .map(|(slot, place)| Key { slot, generation: place.generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_used_again_and_a_name_is_not() {
        let mut slab = Slab::new();
        let first = slab.insert(|_| "first");
        let other = slab.insert(|_| "other");
        assert_eq!(slab.remove(first), Some("first"));
        assert_eq!(slab.remove(first), None);
        let second = slab.insert(|_| "second");
        assert_eq!((second.slot, second.generation), (first.slot, first.generation + 1));
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!(slab.keys(), [second, other]);
        assert_eq!(slab.len(), 2);
    }

    #[test]
    fn a_place_whose_generations_are_used_up_is_left_empty() {
        let mut slab = Slab::new();
        slab.insert(|_| "first");
        slab.places[0].generation = u32::MAX;
        let last = Key { slot: 0, generation: u32::MAX };
        assert_eq!(slab.remove(last), Some("first"));
        assert!(slab.is_empty());
        assert_eq!(slab.insert(|_| "second").slot, 1);
        assert_eq!(slab.get_mut(last), None);
    }
}
