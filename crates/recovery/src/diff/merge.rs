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
