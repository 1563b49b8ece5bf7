//! Objects that come nearly in order, put in order within a bound on memory.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use lifeboat_model::ObjectKey;

/// Lists come in the order of etcd's keys. Those of aggregated APIs may come in any, and are small: what is in here at a
/// time is put in order, however it came.
#[derive(Debug)]
pub(super) struct Window<T> {
    heap: BinaryHeap<Reverse<Waiting<T>>>,
    /// The bytes that may wait.
    room: usize,
    used: usize,
    last: Option<ObjectKey>,
    late: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    key: ObjectKey,
    size: usize,
    item: T,
}

impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Waiting<T> {}

impl<T> Window<T> {
    /// A window for so many bytes; one without room takes only what comes in order.
    pub(super) fn new(room: usize) -> Self {
        Self { heap: BinaryHeap::new(), room, used: 0, last: None, late: 0 }
    }

    /// Takes an object of that size. One that comes behind its place is counted, and is lost.
    pub(super) fn push(&mut self, key: ObjectKey, size: usize, item: T) {
        if self.has_passed(&key) {
            self.late += 1;
            return;
        }
        self.used = self.used.saturating_add(size);
        self.heap.push(Reverse(Waiting { key, size, item }));
    }

    /// The first object, if more than fits has come; or any at all, where no more will come.
    pub(super) fn pop(&mut self, ended: bool) -> Option<(ObjectKey, T)> {
        while self.used > self.room || ended {
            let Reverse(Waiting { key, size, item }) = self.heap.pop()?;
            self.used -= size;
            if self.has_passed(&key) {
                self.late += 1;
                continue;
            }
            self.last = Some(key.clone());
            return Some((key, item));
        }
        None
    }

    /// Whether an object of that key, or one behind it, was handed out.
    pub(super) fn has_passed(&self, key: &ObjectKey) -> bool {
        self.last.as_ref().is_some_and(|last| key <= last)
    }

    /// How many objects came behind their place, or twice.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.heap.clear();
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u32) -> ObjectKey {
        ObjectKey {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            namespace: Some("a".to_owned()),
            name: format!("{number:04}"),
        }
    }

    /// What comes out when these go in, each of one byte.
    fn through(room: usize, numbers: &[u32]) -> (Vec<u32>, u64) {
        let mut window = Window::new(room);
        let mut out = Vec::new();
        for number in numbers {
            window.push(key(*number), 1, *number);
            while let Some((_, number)) = window.pop(false) {
                out.push(number);
            }
        }
        while let Some((_, number)) = window.pop(true) {
            out.push(number);
        }
        (out, window.late())
    }

    #[test]
    fn what_comes_too_late_or_twice_is_counted() {
        assert_eq!(through(0, &[1, 2, 4, 3, 5, 5]), (vec![1, 2, 4, 5], 2));
        assert_eq!(through(2, &[3, 2, 1]), (vec![1, 2, 3], 0));
        assert_eq!(through(2, &[4, 3, 2, 1]), (vec![2, 3, 4], 1));
        assert_eq!(through(9, &[2, 2, 1]), (vec![1, 2], 1));
    }

    proptest! {
        #[test]
        fn what_comes_out_is_in_order_and_nothing_is_lost_uncounted(
            numbers in proptest::collection::vec(0..50_u32, 0..60), room in 0..70_usize,
        ) {
            let (out, late) = through(room, &numbers);
            prop_assert!(out.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(out.len() as u64 + late, numbers.len() as u64);
            if room >= numbers.len() {
                let all: std::collections::BTreeSet<u32> = numbers.iter().copied().collect();
                prop_assert_eq!(out, all.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
