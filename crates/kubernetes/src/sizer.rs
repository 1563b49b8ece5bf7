//! How many objects to ask for, so that a page stays small whatever the objects' size.

/// Objects asked for at first: even objects of 1.5 MiB, the most that etcd takes, then fit in [`Sizer::ceiling`].
const FIRST: u32 = 8;
/// How much larger the next page may be than the last one.
const GROWTH: u32 = 4;
/// A page may be this many times as large as wanted before it is thrown away and asked for in smaller pieces.
const TOLERANCE: usize = 4;

/// Chooses the `limit` of each page from the sizes seen so far.
#[derive(Debug)]
pub(crate) struct Sizer {
    most: u32,
    target: usize,
    max_body: usize,
    limit: u32,
    /// The largest mean size of an object that a page has had, with what belongs to it in the list's envelope.
    mean: usize,
}

impl Sizer {
    /// At most `most` objects and about `target` bytes a page, never above `max_body` bytes.
    pub(crate) fn new(most: u32, target: usize, max_body: usize) -> Self {
        let most = most.max(1);
        Self { most, target: target.max(1), max_body, limit: most.min(FIRST), mean: 0 }
    }

    /// The `limit` to ask for.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// The bytes to expect.
    pub(crate) fn expected(&self) -> usize {
        if self.mean == 0 { self.target } else { self.mean.saturating_mul(self.limit as usize).min(self.ceiling()) }
    }

    /// The bytes at which a page is given up. One object alone may be as large as `max_body`.
    pub(crate) fn ceiling(&self) -> usize {
        if self.limit == 1 { self.max_body } else { self.target.saturating_mul(TOLERANCE).min(self.max_body) }
    }

    /// Learns from a page.
    pub(crate) fn observe(&mut self, items: usize, bytes: usize) {
        let Some(mean) = bytes.checked_div(items) else { return };
        // A mean that has risen counts at once, one that has fallen by halves: pages shrink fast and grow slowly.
        self.mean = mean.max(self.mean.midpoint(mean)).max(1);
        let fit = u32::try_from(self.target / self.mean).unwrap_or(u32::MAX);
        self.limit = fit.min(self.limit.saturating_mul(GROWTH)).clamp(1, self.most);
    }

    /// Asks for less after a page that was too large; false when it was one object only.
    pub(crate) fn shrink(&mut self) -> bool {
        let smaller = self.limit > 1;
        self.limit = (self.limit / GROWTH).max(1);
        smaller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn small_objects_reach_the_limit_given_in_a_few_pages() {
        let mut sizer = Sizer::new(500, 4 * MIB, 256 * MIB);
        let mut limits = vec![sizer.limit()];
        for _ in 0..4 {
            sizer.observe(sizer.limit() as usize, sizer.limit() as usize * 2_500);
            limits.push(sizer.limit());
        }
        assert_eq!(limits, [8, 32, 128, 500, 500]);
        assert_eq!(sizer.expected(), 500 * 2_500);
    }

    #[test]
    fn large_objects_keep_pages_small() {
        let mut sizer = Sizer::new(500, 4 * MIB, 256 * MIB);
        sizer.observe(8, 8 * MIB);
        assert_eq!(sizer.limit(), 4);
        sizer.observe(4, 12 * MIB);
        assert_eq!(sizer.limit(), 1);
        assert_eq!(sizer.ceiling(), 256 * MIB);
    }

    #[test]
    fn a_page_that_was_too_large_is_asked_for_in_pieces_down_to_one_object() {
        let mut sizer = Sizer::new(500, 4 * MIB, 256 * MIB);
        assert_eq!(sizer.ceiling(), 16 * MIB);
        assert!(sizer.shrink());
        assert_eq!(sizer.limit(), 2);
        assert!(sizer.shrink());
        assert_eq!(sizer.limit(), 1);
        assert!(!sizer.shrink());
    }

    #[test]
    fn a_limit_of_one_and_an_empty_page_are_taken() {
        let mut sizer = Sizer::new(0, 0, 10);
        sizer.observe(0, 100);
        assert_eq!((sizer.limit(), sizer.expected()), (1, 1));
        sizer.observe(1, 100);
        assert_eq!((sizer.limit(), sizer.expected()), (1, 10));
    }
}
