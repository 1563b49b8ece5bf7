//! Which step runs before which.

/// The steps that run before each, by their places, as sets of bits: ten thousand steps take 12 MiB.
pub(crate) struct Before {
    words: usize,
    bits: Vec<u64>,
}

impl Before {
    /// Whether `first` has ended, one way or another, before `then` begins.
    pub(crate) fn runs(&self, first: usize, then: usize) -> bool {
        let word = self.bits.get(then * self.words + first / 64).copied().unwrap_or(0);
        word >> (first % 64) & 1 == 1
    }
}

/// The order of a graph given by what each step needs; or a cycle, in its order.
pub(crate) fn order(needs: &[Vec<usize>]) -> Result<Before, Vec<usize>> {
    let words = needs.len().div_ceil(64);
    let mut before = Before { words, bits: vec![0; words * needs.len()] };
    // 0: not seen, 1: on the path to here, 2: done.
    let mut state = vec![0_u8; needs.len()];
    for start in 0..needs.len() {
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((step, next)) = path.pop() {
            let seen = state.get(step).copied().unwrap_or(2);
            if seen == 2 {
                continue;
            }
            if let Some(mark) = state.get_mut(step) {
                *mark = 1;
            }
            if let Some(&need) = needs.get(step).and_then(|needs| needs.get(next)) {
                path.push((step, next + 1));
                if state.get(need) == Some(&1) {
                    return Err(cycle(&path, need));
                }
                path.push((need, 0));
            } else {
                gather(&mut before, needs, step);
                if let Some(mark) = state.get_mut(step) {
                    *mark = 2;
                }
            }
        }
    }
    Ok(before)
}

fn cycle(path: &[(usize, usize)], first: usize) -> Vec<usize> {
    let steps = path.iter().map(|(step, _)| *step).skip_while(|step| *step != first);
    steps.collect()
}

/// What runs before a step: what it needs, and what runs before that.
fn gather(before: &mut Before, needs: &[Vec<usize>], step: usize) {
    let words = before.words;
    for &need in needs.get(step).map_or(&[][..], Vec::as_slice) {
        for word in 0..words {
            let own = if word == need / 64 { 1 << (need % 64) } else { 0 };
            let found = before.bits.get(need * words + word).copied().unwrap_or(0) | own;
            if let Some(bits) = before.bits.get_mut(step * words + word) {
                *bits |= found;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cycles_are_found() {
        assert_eq!(order(&[vec![1], vec![2], vec![0]]).err(), Some(vec![0, 1, 2]));
        assert_eq!(order(&[vec![], vec![1]]).err(), Some(vec![1]));
        assert_eq!(order(&[vec![], vec![0], vec![3, 1], vec![2]]).err(), Some(vec![2, 3]));
    }

    #[test]
    fn a_long_chain_is_no_deep_recursion() {
        let needs: Vec<Vec<usize>> = (0..10_000).map(|step: usize| step.checked_sub(1).into_iter().collect()).collect();
        let before = order(&needs).ok().unwrap();
        assert!(before.runs(0, 9999) && before.runs(9998, 9999) && !before.runs(9999, 0) && !before.runs(5, 5));
    }

    proptest! {
        #[test]
        fn before_is_what_can_be_reached(edges in proptest::collection::vec((0_usize..70, 0_usize..70), 0..120)) {
            let mut needs = vec![Vec::new(); 70];
            for (a, b) in edges.iter().filter(|(a, b)| a != b) {
                needs[*a.max(b)].push(*a.min(b));
            }
            let before = order(&needs).ok().unwrap();
            for then in 0..70 {
                let mut reached = [false; 70];
                let mut open = needs[then].clone();
                while let Some(step) = open.pop() {
                    if !std::mem::replace(&mut reached[step], true) {
                        open.extend(&needs[step]);
                    }
                }
                for (first, reached) in reached.into_iter().enumerate() {
                    prop_assert_eq!(before.runs(first, then), reached);
                }
            }
        }
    }
}
