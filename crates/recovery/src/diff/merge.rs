//! Two ordered streams of objects, merged.

use std::cmp::Ordering;

use lifeboat_model::{Object, ResourceType};
use serde_json::Value;

use super::account::Pair;
use super::side::{Closing, Item, Side};
use super::{Change, Detail, Difference, Options, Secrets, Summary, Uncompared, masks};
use crate::error::{Error, Result};

/// A comparison under way.
pub(super) struct Merge<'a, F> {
    options: &'a Options,
    summary: Summary,
    each: F,
}

/// Objects of one resource of which nothing can be said.
#[derive(Debug, Default)]
struct Unknown {
    /// On the other side only, where the backup may lack some.
    before: u64,
    /// In the backup only, where the other side may lack some.
    after: u64,
    /// On both sides, of which one has no content that can be compared.
    contents: u64,
}

/// The sides of a comparison, at one resource.
struct Sides<'s> {
    resource: &'s ResourceType,
    /// What the other side calls it.
    theirs: &'s ResourceType,
    before: &'s mut dyn Side,
    after: &'s mut dyn Side,
}

impl<'a, F: FnMut(Difference) -> Result<()>> Merge<'a, F> {
    /// `summary` has what is known before.
    pub(super) fn new(options: &'a Options, summary: Summary, each: F) -> Self {
        Self { options, summary, each }
    }

    /// What came of it.
    pub(super) fn finish(self) -> Summary {
        self.summary
    }

    /// Compares one resource.
    pub(super) fn pair(&mut self, pair: &Pair, before: &mut dyn Side, after: &mut dyn Side) -> Result<()> {
        let Some(resource) = pair.resource() else { return Ok(()) };
        before.begin(pair.before.as_ref(), resource)?;
        after.begin(pair.after.as_ref(), resource)?;
        let theirs = pair.after.as_ref().map_or(resource, |known| &known.resource);
        let mut sides = Sides { resource, theirs, before, after };
        let unknown = self.objects(&mut sides)?;
        let (left, right) = (sides.before.close()?, sides.after.close()?);
        self.close(resource, &left, &right, &unknown);
        Ok(())
    }

    fn objects(&mut self, sides: &mut Sides<'_>) -> Result<Unknown> {
        let mut unknown = Unknown::default();
        let (mut left, mut right) = (sides.before.next()?, sides.after.next()?);
        loop {
            let order = match (&left, &right) {
                (Some(left), Some(right)) => left.key.cmp(&right.key),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Ok(unknown),
            };
            let taken_left = if order.is_le() { left.take() } else { None };
            let taken_right = if order.is_ge() { right.take() } else { None };
            self.object(sides, taken_left.as_ref(), taken_right.as_ref(), &mut unknown)?;
            if order.is_le() {
                left = sides.before.next()?;
            }
            if order.is_ge() {
                right = sides.after.next()?;
            }
        }
    }

    /// One object, which is on one side or on both.
    fn object(
        &mut self,
        sides: &mut Sides<'_>,
        left: Option<&Item>,
        right: Option<&Item>,
        unknown: &mut Unknown,
    ) -> Result<()> {
        if !self.has_labels(sides, left, right)? {
            return Ok(());
        }
        let Some(change) = self.verdict(sides, left, right, unknown) else { return Ok(()) };
        let difference = self.difference(sides, change, left, right)?;
        (self.each)(difference)
    }

    /// How the object differs, if it does; counts it.
    fn verdict(
        &mut self,
        sides: &Sides<'_>,
        left: Option<&Item>,
        right: Option<&Item>,
        unknown: &mut Unknown,
    ) -> Option<Change> {
        let is_readable = |item: Option<&Item>| item.is_none_or(|item| item.digest.is_some());
        let has_contents = sides.before.has_contents() && sides.after.has_contents();
        let (change, count) = match (left, right) {
            (Some(left), None) if !sides.after.is_sure_without(&left.key) => (None, &mut unknown.after),
            (None, Some(right)) if !sides.before.is_sure_without(&right.key) => (None, &mut unknown.before),
            _ if !is_readable(left) => (None, &mut unknown.before),
            _ if !is_readable(right) => (None, &mut unknown.after),
            (Some(_), None) => (Some(Change::Removed), &mut self.summary.removed),
            (None, _) => (Some(Change::Added), &mut self.summary.added),
            (Some(_), Some(_)) if !has_contents => (None, &mut unknown.contents),
            (Some(left), Some(right)) if left.digest == right.digest => (None, &mut self.summary.unchanged),
            (Some(_), Some(_)) => (Some(Change::Changed), &mut self.summary.changed),
        };
        *count += 1;
        change
    }

    fn difference(
        &self,
        sides: &mut Sides<'_>,
        change: Change,
        left: Option<&Item>,
        right: Option<&Item>,
    ) -> Result<Difference> {
        let Options { detail, secrets, .. } = self.options;
        let opens = *detail == Detail::Whole || (*detail == Detail::Fields && change == Change::Changed);
        // An object of the other side alone goes by the name that it has there, unless it was asked for by ours.
        let resource =
            if change == Change::Added && !sides.after.has_contents() { sides.theirs } else { sides.resource };
        let mut before = tree(sides.before, resource, left.filter(|_| opens))?;
        let mut after = tree(sides.after, resource, right.filter(|_| opens))?;
        if *secrets == Secrets::Masked && masks::is_secret(resource) {
            masks::mask(before.as_mut(), after.as_mut());
        }
        let item = left.or(right).ok_or(Error::Lost("comparing"))?;
        let mut key = item.key.clone();
        (key.group, key.version) = (resource.group.clone(), resource.version.clone());
        Ok(Difference { key, kind: resource.kind.clone(), change, before, after })
    }

    /// Whether the object is selected by its labels, on either side.
    fn has_labels(&self, sides: &mut Sides<'_>, left: Option<&Item>, right: Option<&Item>) -> Result<bool> {
        let Some(labels) = &self.options.selection.labels else { return Ok(true) };
        // What is at hand first.
        if let Some(item) = right
            && labels.matches(&parse(sides.after, item)?)
        {
            return Ok(true);
        }
        let same =
            right.is_some_and(|right| right.digest.is_some() && right.digest == left.and_then(|left| left.digest));
        match left {
            Some(item) if !same => Ok(labels.matches(&parse(sides.before, item)?)),
            _ => Ok(false),
        }
    }

    fn close(&mut self, resource: &ResourceType, left: &Closing, right: &Closing, unknown: &Unknown) {
        let name = resource.group_resource().to_string();
        let lines =
            [(&left.trouble, unknown.before), (&right.trouble, unknown.after), (&right.names_only, unknown.contents)];
        for (reason, objects) in lines {
            if let Some(reason) = reason {
                self.summary.uncompared.push(Uncompared { resource: name.clone(), reason: reason.clone(), objects });
            }
        }
    }
}

fn parse(side: &mut dyn Side, item: &Item) -> Result<Value> {
    let json = side.json(&item.body)?;
    serde_json::from_slice(&json)
        .map_err(|error| Error::Inconsistent(format!("{} is not valid JSON: {error}", item.key)))
}

/// The canonical form of an object as a tree.
fn tree(side: &mut dyn Side, resource: &ResourceType, item: Option<&Item>) -> Result<Option<Value>> {
    let Some(item) = item else { return Ok(None) };
    let json = side.json(&item.body)?;
    let tree = Object::parse(&json).and_then(|object| object.tree(&resource.api_version(), &resource.kind));
    tree.map(Some).map_err(|source| Error::Canonical { object: item.key.to_string(), source })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use bytes::Bytes;
    use lifeboat_model::{Digest, ObjectKey};
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::account::Known;
    use super::super::side::Body;
    use super::*;

    fn resource() -> ResourceType {
        ResourceType {
            group: String::new(),
            version: "v1".to_owned(),
            resource: "secrets".to_owned(),
            kind: "Secret".to_owned(),
            singular: String::new(),
            short_names: Vec::new(),
            namespaced: true,
        }
    }

    /// Objects by name, each with its value; one without cannot be compared.
    type Objects = BTreeMap<u8, Option<u8>>;

    #[derive(Debug, Clone, Default)]
    struct Fake {
        objects: Objects,
        /// From which name on the list is not known.
        known: Option<u8>,
        names_only: bool,
        opened: Rc<RefCell<u64>>,
        place: u8,
    }

    fn json(name: u8, value: u8) -> Bytes {
        let object = json!({"metadata": {"name": format!("{name:03}"), "namespace": "a", "labels": {"odd": (name % 2 == 1).to_string()}},
            "data": {"x": format!("S3CR3T{value}")}});
        Bytes::from(object.to_string())
    }

    impl Side for Fake {
        fn begin(&mut self, _: Option<&Known>, _: &ResourceType) -> Result<()> {
            self.place = 0;
            Ok(())
        }

        fn next(&mut self) -> Result<Option<Item>> {
            let found =
                self.objects.range(self.place..).next().filter(|(name, _)| self.known.is_none_or(|end| **name < end));
            let Some((name, value)) = found else { return Ok(None) };
            self.place = name + 1;
            let digest = value.map(|value| Digest::of(&[value]));
            let body = Body::Here(json(*name, value.unwrap_or_default()));
            Ok(Some(Item { key: resource().key(Some("a"), &format!("{name:03}")), digest, body }))
        }

        fn json(&mut self, body: &Body) -> Result<Bytes> {
            *self.opened.borrow_mut() += 1;
            match body {
                Body::Here(bytes) => Ok(bytes.clone()),
                Body::Stored { .. } => unreachable!(),
            }
        }

        fn is_sure_without(&self, key: &ObjectKey) -> bool {
            self.known.is_none_or(|end| key.name < format!("{end:03}"))
        }

        fn has_contents(&self) -> bool {
            !self.names_only
        }

        fn close(&mut self) -> Result<Closing> {
            let said = |said: bool| said.then(|| "a reason".to_owned());
            Ok(Closing { trouble: said(self.known.is_some()), names_only: said(self.names_only) })
        }
    }

    fn merged(before: &mut Fake, after: &mut Fake, options: &Options) -> (Summary, Vec<Difference>) {
        let found = RefCell::new(Vec::new());
        let mut merge = Merge::new(options, Summary::default(), |difference| {
            found.borrow_mut().push(difference);
            Ok(())
        });
        let pair = Pair::for_test(resource());
        merge.pair(&pair, before, after).unwrap();
        (merge.finish(), found.into_inner())
    }

    fn objects() -> impl Strategy<Value = Objects> {
        let value = prop_oneof![8 => (0..3_u8).prop_map(Some), 1 => Just(None)];
        proptest::collection::btree_map(0..30_u8, value, 0..20)
    }

    fn side() -> impl Strategy<Value = Fake> {
        let known = prop_oneof![3 => Just(None), 1 => (0..30_u8).prop_map(Some)];
        (objects(), known).prop_map(|(objects, known)| Fake { objects, known, ..Fake::default() })
    }

    /// What can be said of an object on a side.
    #[derive(Clone, Copy)]
    enum Seen {
        Unknown,
        Absent,
        Unreadable,
        Value(u8),
    }

    fn seen(side: &Fake, name: u8) -> Seen {
        match side.objects.get(&name) {
            _ if side.known.is_some_and(|end| name >= end) => Seen::Unknown,
            None => Seen::Absent,
            Some(None) => Seen::Unreadable,
            Some(Some(value)) => Seen::Value(*value),
        }
    }

    proptest! {
        #[test]
        fn the_verdicts_are_those_of_a_simple_comparison(mut before in side(), mut after in side()) {
            let (summary, found) = merged(&mut before, &mut after, &Options::default());
            let mut expected = Summary::default();
            let mut names = Vec::new();
            for name in 0..30 {
                let change = match (seen(&before, name), seen(&after, name)) {
                    (Seen::Value(_), Seen::Absent) => Some(Change::Removed),
                    (Seen::Absent, Seen::Value(_)) => Some(Change::Added),
                    (Seen::Value(a), Seen::Value(b)) if a != b => Some(Change::Changed),
                    (Seen::Value(_), Seen::Value(_)) => {
                        expected.unchanged += 1;
                        None
                    }
                    // What is not known, or cannot be compared, is no difference.
                    _ => None,
                };
                match change {
                    Some(Change::Added) => expected.added += 1,
                    Some(Change::Removed) => expected.removed += 1,
                    Some(Change::Changed) => expected.changed += 1,
                    None => {}
                }
                names.extend(change.map(|change| (format!("{name:03}"), change)));
            }
            prop_assert_eq!(found.iter().map(|found| (found.key.name.clone(), found.change)).collect::<Vec<_>>(), names);
            let is_partial = before.known.is_some() || after.known.is_some();
            prop_assert_eq!(summary.uncompared.is_empty(), !is_partial);
            prop_assert_eq!(Summary { uncompared: Vec::new(), ..summary }, expected);
        }

        #[test]
        fn a_side_does_not_differ_from_itself_and_nothing_is_opened(mut side in objects().prop_map(|mut objects| {
            objects.retain(|_, value| value.is_some());
            Fake { objects, ..Fake::default() }
        })) {
            let opened = Rc::clone(&side.opened);
            let (summary, found) = merged(&mut side.clone(), &mut side, &Options::default());
            prop_assert!(summary.is_same() && found.is_empty() && *opened.borrow() == 0);
        }

        #[test]
        fn by_name_alone_nothing_is_changed(before in objects(), after in objects()) {
            let mut sides = [before, after].map(|mut objects| {
                objects.retain(|_, value| value.is_some());
                Fake { objects, ..Fake::default() }
            });
            let [before, after] = &mut sides;
            after.names_only = true;
            let (summary, _) = merged(before, after, &Options::default());
            let both = before.objects.keys().filter(|name| after.objects.contains_key(name)).count() as u64;
            prop_assert_eq!((summary.changed, summary.unchanged), (0, 0));
            prop_assert_eq!(summary.uncompared.iter().map(|line| line.objects).sum::<u64>(), both);
            prop_assert_eq!(summary.removed + both, before.objects.len() as u64);
            prop_assert_eq!(summary.added + both, after.objects.len() as u64);
        }

        #[test]
        fn no_secret_is_in_a_difference_unless_it_was_asked_for(mut before in side(), mut after in side()) {
            for secrets in [Secrets::Masked, Secrets::Shown] {
                let options = Options { detail: Detail::Whole, secrets, ..Options::default() };
                for difference in merged(&mut before, &mut after, &options).1 {
                    let text = format!("{difference:?}");
                    prop_assert_eq!(text.contains("S3CR3T"), secrets == Secrets::Shown, "{}", text);
                    prop_assert_eq!(difference.fields().len(), usize::from(difference.change == Change::Changed));
                }
            }
        }

        #[test]
        fn labels_select_on_either_side(mut before in side(), mut after in side()) {
            let all = merged(&mut before, &mut after, &Options::default());
            let mut options = Options::default();
            options.selection.labels = Some("odd=true".parse().unwrap());
            let odd = merged(&mut before, &mut after, &options);
            let is_odd = |difference: &&Difference| difference.key.name.parse::<u8>().unwrap() % 2 == 1;
            prop_assert_eq!(odd.1, all.1.iter().filter(is_odd).cloned().collect::<Vec<_>>());
            options.selection.labels = Some("odd=false".parse().unwrap());
            let even = merged(&mut before, &mut after, &options);
            prop_assert_eq!(odd.0.unchanged + even.0.unchanged, all.0.unchanged);
        }
    }
}
