//! What follows from what was tried.

use lifeboat_playbook::Proof;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::script::{Told, Try};

/// How many tries in a row have to fail. Each may take two seconds.
pub(super) const TRIES: usize = 3;
/// How many looks in a row have to find nothing new of a connection over which something goes each second.
pub(super) const QUIET: usize = 5;

/// What became of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Path {
    /// Something came through.
    Works,
    /// Nothing came through any more.
    Cut,
    /// Neither was seen.
    Unknown,
}

/// The ways that are tried, all of them TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Paths {
    /// New connections of the isolated pod to the other one.
    pub(crate) outward: Path,
    /// New connections of the other pod to the isolated one.
    pub(crate) inward: Path,
    /// A connection that was established before.
    pub(crate) open: Path,
}

/// What was tried over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Tried {
    /// Before the labels were swapped.
    pub(crate) before: Paths,
    /// Afterwards.
    pub(crate) after: Paths,
    /// Why something could not be tried.
    pub(crate) trouble: Option<String>,
}

/// Nothing was tried, or nothing seen.
pub(super) const NOTHING: Paths = Paths { outward: Path::Unknown, inward: Path::Unknown, open: Path::Unknown };

/// What worked before.
pub(super) fn before(pod: &Told, peer: &Told) -> Paths {
    let path = |works: bool| if works { Path::Works } else { Path::Unknown };
    Paths {
        outward: path(pod.tries.iter().any(|one| one.far)),
        inward: path(peer.tries.iter().any(|one| one.far)),
        open: path(peer.open > 1),
    }
}

impl Paths {
    pub(super) fn all(self, path: Path) -> bool {
        [self.outward, self.inward, self.open].iter().all(|one| *one == path)
    }
}

/// What had been told when the quarantine was in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pod: u64,
    peer: u64,
}

impl Mark {
    pub(super) fn of(pod: &Told, peer: &Told) -> Self {
        let last = |told: &Told| told.tries.last().map_or(0, |one| one.number);
        Self { pod: last(pod), peer: last(peer) }
    }
}

/// What works after the mark. `quiet` says how many looks found nothing new of the open connection.
pub(super) fn after(pod: &Told, peer: &Told, mark: Mark, quiet: usize) -> Paths {
    // The next one after the mark may have begun before it.
    let since = |told: &Told, mark: u64| -> Vec<Try> {
        told.tries.iter().filter(|one| one.number > mark.saturating_add(1)).copied().collect()
    };
    let (pod, peer) = (since(pod, mark.pod), since(peer, mark.peer));
    Paths {
        outward: path(&pod, &peer),
        inward: path(&peer, &pod),
        open: if quiet >= QUIET { Path::Cut } else { Path::Works },
    }
}

/// What became of the way from one end to the other, whose listener has to answer itself meanwhile: where nobody
/// listens, nothing is cut.
fn path(from: &[Try], to: &[Try]) -> Path {
    fn last(tries: &[Try]) -> Option<&[Try]> {
        tries.get(tries.len().checked_sub(TRIES)?..)
    }
    let (Some(from), Some(to)) = (last(from), last(to)) else { return Path::Unknown };
    if from.iter().any(|one| one.far) {
        return Path::Works;
    }
    if to.iter().all(|one| one.own) { Path::Cut } else { Path::Unknown }
}

/// What is proved by it, where labels and policies are in force.
pub(super) fn proof(tried: &Tried, pod: &str, peer: &str) -> Proof {
    let Tried { before, after, trouble } = tried;
    let not = |why: String| Proof::NotObserved(format!("labels and policy are in force, but {why}"));
    if let Some(trouble) = trouble {
        return not(format!("this is NOT PROVED ISOLATED, for nothing could be tried: {trouble}"));
    }
    let ways = |wanted: fn(Path) -> bool, paths: &Paths| {
        let named = [
            (paths.outward, format!("new connections of {pod} to {peer}")),
            (paths.inward, format!("new connections of {peer} to {pod}")),
            (paths.open, "one that was established before".to_owned()),
        ];
        let found: Vec<String> = named.into_iter().filter(|(path, _)| wanted(*path)).map(|(_, name)| name).collect();
        found.join("; ")
    };
    if !before.all(Path::Works) {
        let silent = ways(|path| path != Path::Works, before);
        return not(format!("this is NOT PROVED ISOLATED: over TCP, this did not work before either: {silent}"));
    }
    let works = ways(|path| path == Path::Works, after);
    if !works.is_empty() {
        return not(format!("it is NOT ISOLATED: over TCP, this still works: {works}"));
    }
    if !after.all(Path::Cut) {
        let unknown = ways(|path| path == Path::Unknown, after);
        return not(format!("this is NOT PROVED ISOLATED: over TCP, it could not be told of: {unknown}"));
    }
    Proof::Observed(format!(
        "ISOLATED, as far as it was tried: over TCP, {pod} and {peer} reached each other before; since then {TRIES} tries \
         in a row failed in each direction, while each end answered itself, and the connection that had been \
         established carries nothing any more. Other protocols and addresses were not tried"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tries: &[(bool, bool)], open: usize) -> Told {
        let tries = tries.iter().zip(1..).map(|((own, far), number)| Try { number, own: *own, far: *far }).collect();
        Told { tries, open }
    }

    const UP: (bool, bool) = (true, true);
    const CUT: (bool, bool) = (true, false);
    const DEAD: (bool, bool) = (false, false);

    #[test]
    fn only_what_worked_before_and_fails_afterwards_is_cut() {
        let (pod, peer) = (told(&[UP, UP], 0), told(&[CUT, UP], 3));
        let was = before(&pod, &peer);
        assert!(was.all(Path::Works));
        let mark = Mark::of(&pod, &peer);
        // The third may have begun before the mark, and does not count.
        let judged = |pod: &[(bool, bool)], peer: &[(bool, bool)], quiet| {
            let all = |more: &[(bool, bool)]| told(&[&[UP, UP, UP], more].concat(), 3);
            after(&all(pod), &all(peer), mark, quiet)
        };
        let cut = [CUT; 3];
        assert!(judged(&cut, &cut, QUIET).all(Path::Cut));
        assert_eq!(judged(&cut, &cut, QUIET - 1).open, Path::Works);
        assert_eq!(judged(&[UP, CUT, CUT], &cut, QUIET).outward, Path::Works);
        assert_eq!(judged(&[UP, CUT, CUT, CUT], &cut, QUIET).outward, Path::Cut);
        assert_eq!(judged(&cut, &[CUT, UP, CUT], QUIET).inward, Path::Works);
        assert_eq!(judged(&cut[..2], &cut, QUIET).outward, Path::Unknown, "too few");
        // Nobody listens in the pod: that the other cannot reach it says nothing.
        let dead = judged(&[DEAD; 3], &cut, QUIET);
        assert_eq!((dead.inward, dead.outward), (Path::Unknown, Path::Cut));
    }

    #[test]
    fn a_proof_needs_everything() {
        let works = Paths { outward: Path::Works, inward: Path::Works, open: Path::Works };
        let cut = Paths { outward: Path::Cut, inward: Path::Cut, open: Path::Cut };
        let judged = |before, after, trouble: Option<&str>| match proof(
            &Tried { before, after, trouble: trouble.map(str::to_owned) },
            "pod a",
            "pod b",
        ) {
            Proof::Observed(text) => (true, text),
            Proof::NotObserved(text) => (false, text),
        };
        let (observed, text) = judged(works, cut, None);
        assert!(observed && text.starts_with("ISOLATED, as far as it was tried"), "{text}");
        for (before, after, trouble, words) in [
            (works, Paths { open: Path::Works, ..cut }, None, "still works: one that was established before"),
            (
                works,
                Paths { inward: Path::Works, ..cut },
                None,
                "NOT ISOLATED: over TCP, this still works: new connections of pod b to pod a",
            ),
            (works, Paths { inward: Path::Unknown, ..cut }, None, "could not be told of"),
            (Paths { outward: Path::Unknown, ..works }, cut, None, "did not work before either"),
            (works, cut, Some("no such image"), "nothing could be tried: no such image"),
        ] {
            let (observed, text) = judged(before, after, trouble);
            assert!(!observed && text.contains(words), "{text}");
        }
    }
}
