//! Who may send the next request: the lists that are wanted first go first, within a bound on requests and memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Admits requests of numbered lists. The consumer takes the lists in order; the one that it is at is the head.
///
/// A request needs a slot, and room for the page expected. The list with the lowest number goes first, and nobody
/// overtakes it: what is fetched ahead is then what the consumer needs next. The head may exceed the room while the
/// consumer has none of its pages to take, so that progress never depends on pages of others.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests that may still be sent.
    slots: usize,
    /// Bytes expected by requests under way, and held by pages that wait for the consumer.
    used: usize,
    /// The bound on `used`.
    capacity: usize,
    head: usize,
    /// Pages that wait for the consumer, by list; lists without any are left out.
    pages: BTreeMap<usize, usize>,
    waiting: BTreeMap<usize, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    bytes: usize,
    admit: oneshot::Sender<()>,
}

impl State {
    fn grant(&mut self) {
        while self.slots > 0 {
            let Some(first) = self.waiting.first_entry() else { return };
            let starved = *first.key() == self.head && !self.pages.contains_key(&self.head);
            if !starved && self.used.saturating_add(first.get().bytes) > self.capacity {
                return;
            }
            let waiter = first.remove();
            self.slots -= 1;
            self.used = self.used.saturating_add(waiter.bytes);
            // A list that has been dropped takes the whole gate with it, so what it was granted is not missed.
            let _ = waiter.admit.send(());
        }
    }
}

impl Gate {
    /// At most `requests` under way, and about `capacity` bytes in memory.
    pub(crate) fn new(requests: usize, capacity: usize) -> Arc<Self> {
        let state = State {
            slots: requests.max(1),
            used: 0,
            capacity,
            head: 0,
            pages: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Waits until `list` may send a request for a page of about `bytes`. A list asks for one at a time.
    pub(crate) async fn admit(self: &Arc<Self>, list: usize, bytes: usize) -> Admission {
        let (admit, admitted) = oneshot::channel();
        {
            let mut state = self.state();
            state.waiting.insert(list, Waiter { bytes, admit });
            state.grant();
        }
        // The sender leaves `waiting` only to send.
        let _ = admitted.await;
        Admission { gate: Arc::clone(self), bytes }
    }

    /// Says that the consumer is now at `list`.
    pub(crate) fn advance(&self, list: usize) {
        let mut state = self.state();
        state.head = list;
        state.grant();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to send a request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    gate: Arc<Gate>,
    bytes: usize,
}

impl Admission {
    /// The request brought a page of `bytes` for the consumer of `list`.
    pub(crate) fn page(self, list: usize, bytes: usize) -> Ticket {
        {
            let mut state = self.gate.state();
            state.used = state.used.saturating_add(bytes);
            *state.pages.entry(list).or_default() += 1;
        }
        Ticket { gate: Arc::clone(&self.gate), list, bytes }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.slots += 1;
        state.used = state.used.saturating_sub(self.bytes);
        state.grant();
    }
}

/// The room that a page takes up to the moment when the consumer has it.
#[derive(Debug)]
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    list: usize,
    bytes: usize,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.used = state.used.saturating_sub(self.bytes);
        if let Some(pages) = state.pages.get_mut(&self.list) {
            *pages -= 1;
            if *pages == 0 {
                state.pages.remove(&self.list);
            }
        }
        state.grant();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn the_lowest_list_goes_first_and_nobody_overtakes() {
        let gate = Gate::new(1, 100);
        let first = gate.admit(0, 10).await;
        let mut later = Box::pin(gate.admit(2, 1));
        let mut sooner = Box::pin(gate.admit(1, 95));
        assert!((&mut later).now_or_never().is_none());
        assert!((&mut sooner).now_or_never().is_none());
        let page = first.page(0, 10);
        assert!((&mut sooner).now_or_never().is_none(), "95 more do not fit beside 10");
        assert!((&mut later).now_or_never().is_none(), "1 would fit, but it is not its turn");
        drop(page);
        let sooner = sooner.await;
        assert!((&mut later).now_or_never().is_none(), "one request at a time");
        drop(sooner);
        later.await;
    }

    #[tokio::test]
    async fn the_head_gets_a_page_though_all_room_is_taken_by_others() {
        let gate = Gate::new(2, 100);
        let ahead = gate.admit(1, 100).await.page(1, 100);
        let head = gate.admit(0, 50).await.page(0, 50);
        let mut more = Box::pin(gate.admit(0, 50));
        assert!((&mut more).now_or_never().is_none(), "the consumer has a page to take");
        drop(head);
        let last = more.await;
        let mut ahead_again = Box::pin(gate.admit(1, 1));
        assert!((&mut ahead_again).now_or_never().is_none());
        drop(last);
        gate.advance(1);
        assert!((&mut ahead_again).now_or_never().is_none(), "its first page was not taken yet");
        drop(ahead);
        ahead_again.await;
    }
}
